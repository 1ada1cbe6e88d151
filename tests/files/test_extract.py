from __future__ import annotations

import gzip
import io
import struct
import tarfile
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.files.digest import file_sha256, parse_sums
from srkd.files.extract import extract


def make_tar(path: Path, members: list[tarfile.TarInfo | tuple[str, bytes]], mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                tar.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                tar.addfile(info, io.BytesIO(member[1]))
    return path


def make_zip(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def link(name: str, target: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_archives_are_unpacked(tmp_path: Path, mode: str) -> None:
    members = [("set/a.png", b"a"), ("set/sub/b.PNG", b"b" * 1000), ("set/notes.mat", b"c"), ("./c.png", b"d")]
    path = tmp_path / "archive"
    make_zip(path, members) if mode == "zip" else make_tar(path, list(members), mode)
    written = extract(path, tmp_path / "out", suffixes=(".png",))
    assert sorted(p.relative_to(tmp_path).as_posix() for p in written) == [
        "out/c.png",
        "out/set/a.png",
        "out/set/sub/b.PNG",
    ]
    assert (tmp_path / "out" / "set" / "sub" / "b.PNG").read_bytes() == b"b" * 1000
    assert not (tmp_path / "out" / "set" / "notes.mat").exists()


HOSTILE = {
    "parent": [("a.png", b"x"), ("../evil.png", b"x")],
    "deep parent": [("x/../../evil.png", b"x")],
    "absolute": [("/tmp/evil.png", b"x")],
    "backslash": [("..\\evil.png", b"x")],
    "drive": [("C:\\evil.png", b"x")],
    "twice": [("a.png", b"x"), ("a.png", b"y")],
    "bomb": [(f"{i}.png", b"\0" * 30_000_000) for i in range(3)],
}
WORDS = {"twice": "twice", "bomb": "unpacks to more than"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("name", list(HOSTILE))
def test_hostile_archives_are_rejected_and_leave_nothing(tmp_path: Path, name: str, kind: str) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    path = folder / "archive"
    make_zip(path, HOSTILE[name]) if kind == "zip" else make_tar(path, list(HOSTILE[name]))
    with pytest.raises(SrkdError, match=f"rejected, because it .*{WORDS.get(name, 'outside its folder')}"):
        extract(path, folder / "out")
    assert [p.name for p in folder.iterdir()] == ["archive"]
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_rejected(tmp_path: Path, kind: bytes) -> None:
    path = make_tar(tmp_path / "a.tar", [link("x", "/etc", kind), ("x/passwd", b"evil")])
    with pytest.raises(SrkdError, match="contains a link or device"):
        extract(path, tmp_path / "out")
    info = zipfile.ZipInfo("x")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(info, "/etc")
    with pytest.raises(SrkdError, match="contains a link or device"):
        extract(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_damaged_archives_are_reported(tmp_path: Path, kind: str) -> None:
    content = bytes(i * 7919 % 251 for i in range(50_000))
    path = tmp_path / "archive"
    make_zip(path, [("a.png", content)]) if kind == "zip" else make_tar(path, [("a.png", content)])
    data = path.read_bytes()
    for broken in (data[: len(data) // 2], b"<html>", b"", data[:100] + b"\0\1\2\3" * 50 + data[300:]):
        path.write_bytes(broken)
        with pytest.raises(SrkdError, match=r"archive: a damaged or unsupported archive|archive: rejected"):
            extract(path, tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["archive"]


def test_a_member_with_a_huge_name_is_rejected_unread(tmp_path: Path) -> None:
    """1.5 MB of gzip whose one member has a name of 1.5 GB: nothing of that size is read into memory."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 1_500_000_000
    attributes = tarfile.TarInfo("pax")
    attributes.type, attributes.size = tarfile.XHDTYPE, 1_500_000_000
    for info in (header, attributes):
        with gzip.open(tmp_path / "a.tar.gz", "wb", 1) as file:
            file.write(info.tobuf(tarfile.GNU_FORMAT))
            for _ in range(20):
                file.write(b"a" * 1_000_000)
        tracemalloc.start()
        try:
            with pytest.raises(
                SrkdError, match="rejected, because it gives a member a name or attributes of 1,500,000,"
            ):
                extract(tmp_path / "a.tar.gz", tmp_path / "out")
            assert tracemalloc.get_traced_memory()[1] < 10e6
        finally:
            tracemalloc.stop()


def test_names_as_long_as_paths_can_be_are_fine(tmp_path: Path) -> None:
    name = "/".join(["a" * 200] * 10) + ".png"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        with tarfile.open(tmp_path / "a.tar", "w", format=form) as tar:
            info = tarfile.TarInfo(name)
            info.size = 1
            tar.addfile(info, io.BytesIO(b"x"))
        assert extract(tmp_path / "a.tar", tmp_path / f"out{form}") == [tmp_path / f"out{form}" / name]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_members_are_counted_folders_too(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srkd.files.extract._MAX_MEMBERS", 20)
    path, count = tmp_path / "archive", 21
    if kind == "zip":
        make_zip(path, [(f"{number}/", b"") for number in range(count)])
    else:
        folders = [tarfile.TarInfo(f"{number}") for number in range(count)]
        for info in folders:
            info.type = tarfile.DIRTYPE
        make_tar(path, list(folders))
    with pytest.raises(SrkdError, match="rejected, because it contains more than 20 members"):
        extract(path, tmp_path / "out")


def test_skipped_members_count_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decompression bomb in a skipped member would be unpacked to reach the next one."""
    monkeypatch.setattr("srkd.files.extract._ALWAYS_ALLOWED", 1_000_000)
    monkeypatch.setattr("srkd.files.extract._MAX_MEMBERS", 100)
    path = make_tar(tmp_path / "a.tar.gz", [("big.bin", b"\0" * 5_000_000), ("a.png", b"x")])
    with pytest.raises(SrkdError, match="unpacks to more than 1,000,000 bytes"):
        extract(path, tmp_path / "out", (".png",))
    info = tarfile.TarInfo("global")  # attributes of all members, not a member itself
    info.type, info.size = tarfile.XGLTYPE, 60_000
    with gzip.open(tmp_path / "b.tar.gz", "wb", 1) as file:
        for _ in range(90):
            file.write(info.tobuf() + b"\0" * 60_416)
    with pytest.raises(SrkdError, match=r"b\.tar\.gz: rejected, because it unpacks to more"):
        extract(tmp_path / "b.tar.gz", tmp_path / "out")


def test_a_zip_with_a_huge_central_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_zip(tmp_path / "a.zip", [(f"{number}.png", b"x") for number in range(50)])
    assert len(extract(path, tmp_path / "out")) == 50
    monkeypatch.setattr("srkd.files.extract._MAX_INDEX", 1000)
    with pytest.raises(SrkdError, match="rejected, because it has a central directory of 2,"):
        extract(path, tmp_path / "out2")


def test_a_zip_with_the_signature_of_its_end_in_a_field(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK\5\6" + bytes(12) + b"PK\5\6" + bytes(2))
    with suppress(SrkdError):  # Python's later versions find that no directory can be there
        assert extract(tmp_path / "a.zip", tmp_path / "out") == []


def test_a_zip64_whose_other_end_record_states_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"x")
    data = (tmp_path / "a.zip").read_bytes()
    count, size, at = struct.unpack("<HLL", data[-12:-2])  # of the end record
    record = b"PK\6\6" + struct.pack("<QHHLL4Q", 44, 45, 45, 0, 0, count, count, size, at)
    locator = b"PK\6\7" + struct.pack("<LQL", 0, len(data) - 22, 1)
    end = data[-22:-10] + struct.pack("<LL", 0, 0) + data[-2:]
    (tmp_path / "a.zip").write_bytes(data[:-22] + record + locator + end)
    assert [path.name for path in extract(tmp_path / "a.zip", tmp_path / "out")] == ["a.png"]
    monkeypatch.setattr("srkd.files.extract._MAX_INDEX", size - 1)
    with pytest.raises(SrkdError, match=f"rejected, because it has a central directory of {size} bytes"):
        extract(tmp_path / "a.zip", tmp_path / "again")


def test_a_zip_with_a_wrong_size_in_its_header(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "a.zip", [("a.png", b"\0" * 5000)])
    data = path.read_bytes()
    path.write_bytes(data.replace((5000).to_bytes(4, "little"), (50).to_bytes(4, "little")))
    with pytest.raises(SrkdError):
        extract(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_sums(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    checksum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "a") == checksum
    assert parse_sums(f"{checksum}  ./x/a b.png\n\n") == {"x/a b.png": checksum}
    with pytest.raises(ValueError, match="not a line"):
        parse_sums("abc a")

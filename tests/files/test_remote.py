"""Files and folders by URL, in memory; tests/cluster/test_object_storage.py has a real server."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from srkd.errors import SrkdError
from srkd.files import remote
from srkd.files.remote import Url, existing, fetched, fetched_folder, is_url, list_files, local_target, place


@pytest.fixture(autouse=True)
def memory() -> Iterator[MemoryFileSystem]:
    """An empty memory:// file system."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def is_png(name: str) -> bool:
    return name.endswith(".png")


def test_what_is_a_url(tmp_path: Path) -> None:
    assert [is_url(name) for name in ("s3://b/k", "memory://x", "C:\\x", "a/b.png", "c://x", "://", "a:b")] == [
        True,
        True,
        *[False] * 5,
    ]
    assert not is_url(tmp_path) and isinstance(place("a.png"), Path) and isinstance(place("gs://b/a.png"), Url)


def test_parts_of_a_url() -> None:
    photo = Url("s3://bucket/in/") / PurePosixPath("x/a.tar.png")
    assert (photo, photo.name, photo.stem, photo.suffix) == (
        "s3://bucket/in/x/a.tar.png",
        "a.tar.png",
        "a.tar",
        ".png",
    )
    assert photo.with_name("b.png") == photo.parent / "b.png" == "s3://bucket/in/x/b.png"
    assert photo / PurePosixPath() == photo
    assert Url("https://host/a.png?key=b/c.gif").suffix == ".png"


def test_files_of_folders_globs_and_single_names(memory: MemoryFileSystem) -> None:
    names = ("a.png", "b.PNG", "c.txt", ".hidden.png", "x/d.png", ".y/e.png", "x/../../f.png")
    for name in names:
        memory.store[f"/in/{name}"] = memory.open("/tmp", "wb")
    found = list_files("memory://in/", lambda name: is_png(name.lower()))
    assert found == [("memory://in/a.png", PurePosixPath()), ("memory://in/b.PNG", PurePosixPath())]
    below = list_files("memory://in", is_png, recursive=True)
    assert below == [("memory://in/a.png", PurePosixPath()), ("memory://in/x/d.png", PurePosixPath("x"))]
    assert [url for url, _ in list_files("memory://in/*.png", is_png)][-1] == "memory://in/a.png"
    assert list_files("memory://in/c.txt", is_png) == [("memory://in/c.txt", PurePosixPath())]
    for missing in ("memory://none", "memory://in/*.gif"):
        with pytest.raises(SrkdError, match=missing.replace("*", r"\*")):
            list_files(missing, is_png)


def test_a_file_is_whole_or_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    target = Url("memory://out/a.png")
    with pytest.raises(KeyboardInterrupt), local_target(target) as path:
        path.write_bytes(b"half")
        raise KeyboardInterrupt
    assert not target.exists()
    with pytest.raises(SrkdError, match=r"memory://out/a.png: the disk is full"), local_target(target) as path:
        raise SrkdError(f"{path}: the disk is full")
    with local_target(target) as path:
        path.write_bytes(b"whole")
    assert remote.read(target) == b"whole"
    with local_target(tmp_path / "b.png") as path:
        assert path == tmp_path / "b.png"


def test_a_file_system_that_shows_unfinished_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the file gets its final name when it is complete, and a failed one is removed."""
    url = f"file://{tmp_path.as_posix()}/new/a.png"
    remote.write(url, b"x")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    system = fsspec.filesystem("file")
    monkeypatch.setattr(type(system), "mv", lambda *_, **__: (_ for _ in ()).throw(OSError("the server is gone")))
    with pytest.raises(SrkdError, match=r"a\.png: the server is gone"):
        remote.write(url, b"y")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"] and remote.read(url) == b"x"


@pytest.mark.parametrize("count", [2, 60])
def test_existing_files(tmp_path: Path, count: int) -> None:
    (tmp_path / "a.png").touch()
    remote.write("memory://out/1.png", b"x")
    targets = [tmp_path / "a.png", tmp_path / "b.png", *(Url(f"memory://out/{n}.png") for n in range(count))]
    assert existing(targets) == {tmp_path / "a.png", "memory://out/1.png"}
    assert existing([Url(f"memory://none/{n}.png") for n in range(count)]) == set()


def test_copies_are_made_once_for_each_version() -> None:
    remote.write("memory://models/a.xml", b"<one/>")
    remote.write("memory://models/a.bin", b"1")
    first = fetched("memory://models/a.xml", [".bin"])
    assert first.read_bytes() == b"<one/>" and first.with_suffix(".bin").read_bytes() == b"1"
    os.utime(first, (0, 0))
    assert fetched("memory://models/a.xml", [".bin"]).stat().st_mtime == 0
    remote.write("memory://models/a.bin", b"two")
    second = fetched("memory://models/a.xml", [".bin"])
    assert second != first and second.with_suffix(".bin").read_bytes() == b"two"
    with pytest.raises(SrkdError, match=r"memory://models/b.xml: no such file"):
        fetched("memory://models/b.xml")


def test_a_folder_is_copied_whole_or_not_at_all(memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.png", "x/b.png", "c.txt"):
        remote.write(f"memory://set/HR/{name}", name.encode())
    with monkeypatch.context() as patched:
        get = MemoryFileSystem.get_file
        calls = iter([True, False])

        def fails_at_the_second(self: MemoryFileSystem, *args: str, **options: object) -> None:
            if not next(calls):
                raise FileNotFoundError(args[0])  # deleted while the folder is read
            get(self, *args, **options)

        patched.setattr(MemoryFileSystem, "get_file", fails_at_the_second)
        with pytest.raises(SrkdError, match=r"memory://set/HR: no such file"):
            fetched_folder("memory://set/HR", is_png, recursive=True)
    folder = fetched_folder("memory://set/HR", is_png, recursive=True)
    assert folder.name == "HR"
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*")) == ["a.png", "x/b.png"]
    assert fetched_folder("memory://set/HR", is_png, recursive=True) == folder
    assert fetched_folder("memory://set/HR", is_png) != folder
    with pytest.raises(SrkdError, match="no images"):
        fetched_folder("memory://set/none", is_png)


def test_invalid_urls() -> None:
    with pytest.raises(SrkdError, match=r"nothing://x: .*rotocol"):
        remote.read("nothing://x")
    with pytest.raises(SrkdError, match="https is only read"):
        remote.write("https://host/a.png", b"")
    with pytest.raises(SrkdError, match="use https"):
        remote.read("http://host/a.png")
    remote.write("memory://a.png", b"12345")
    with pytest.raises(SrkdError, match="5 bytes, more than the limit of 4"):
        remote.read("memory://a.png", 4)


class _Chunked(BaseHTTPRequestHandler):
    """Two megabytes without a Content-Length."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def do_GET(self) -> None:
        self.do_HEAD()
        with suppress(OSError):  # the client has read enough
            for block in [bytes(2**16)] * 32 + [b""]:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))

    def log_message(self, *_: object) -> None:
        pass


class _Answers(BaseHTTPRequestHandler):
    """Answers by the path: a redirection to what the query names or, signed, to another address each time; a status."""

    signatures = itertools.count()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/here.png":
            self.send_response(200)
            self.send_header("Content-Length", "5")
        elif path == "/away.png":
            self.send_response(302)
            self.send_header("Location", query)
        elif path == "/signed.png":
            self.send_response(302)
            self.send_header("Location", f"/here.png?signature={next(self.signatures)}")
        else:
            self.send_response(int(path[1:4]))
        self.end_headers()
        if path == "/here.png" and self.command == "GET":
            self.wfile.write(b"12345")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def answers() -> Iterator[str]:
    """The address of a server."""
    pytest.importorskip("aiohttp")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("read", [fetched, remote.read, lambda url: remote.read(url, 100)])
def test_redirections_are_checked_as_addresses_are(answers: str, read: Callable[[str], object]) -> None:
    assert read(f"{answers}/away.png?/here.png") in (b"12345", fetched(f"{answers}/away.png?/here.png"))
    with pytest.raises(SrkdError, match=r"away\.png.*: redirected to http://there\.invalid/a\.png: .*; use https"):
        read(f"{answers}/away.png?http://there.invalid/a.png")
    with pytest.raises(SrkdError, match=r"redirected to ftp://there\.invalid/: not an http or https address"):
        read(f"{answers}/away.png?ftp://there.invalid/")


def test_a_file_behind_signed_addresses_is_copied_once(answers: str) -> None:
    first = fetched(f"{answers}/signed.png")
    assert first.read_bytes() == b"12345"
    assert fetched(f"{answers}/signed.png") == first


def test_reading_a_file_makes_no_new_version_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    remote.write("memory://models/read.pth", b"weights")
    info, accesses = MemoryFileSystem.info, itertools.count()
    monkeypatch.setattr(MemoryFileSystem, "info", lambda *args: {**info(*args), "time": next(accesses)})  # as of SFTP
    assert fetched("memory://models/read.pth") == fetched("memory://models/read.pth")


@pytest.mark.parametrize("read", [fetched, lambda url: remote.read(url, 100)])
def test_what_keeps_a_file_from_being_read_is_said(answers: str, read: Callable[[str], object]) -> None:
    with pytest.raises(SrkdError, match=r"404\.png: no such file"):
        read(f"{answers}/404.png")
    with pytest.raises(SrkdError, match=r"403\.png: 403, .*Forbidden"):
        read(f"{answers}/403.png")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # a port on which nobody listens
        with pytest.raises(SrkdError, match=r"a\.png: Cannot connect to host 127\.0\.0\.1:\d+") as error:
            read(f"http://127.0.0.1:{closed.getsockname()[1]}/a.png")
    assert "\n" not in str(error.value)


def test_a_limit_holds_for_a_server_that_states_no_size() -> None:
    pytest.importorskip("aiohttp")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Chunked) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.png"
        with pytest.raises(SrkdError, match=r"a\.png: more than the limit of 1,000,000 bytes"):
            remote.read(url, 1_000_000)
        assert len(remote.read(url, 2**21)) == 2**21 == len(remote.read(url))
        server.shutdown()

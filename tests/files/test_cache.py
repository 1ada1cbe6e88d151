from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.files.cache import cache_folder, cache_place, configured_cache, own_place, trusted, trusted_inside
from srkd.files.digest import sampled_sha256

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
STRANGER = 4321


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SRKD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_path_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "srkd"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "srkd"
    monkeypatch.setenv("SRKD_CACHE", "~/own")
    assert cache_folder() == tmp_path / "own"
    assert cache_place("stores", "x") == tmp_path / "own" / "stores" / "x"


def test_a_user_without_a_home_has_a_temporary_cache(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    found = cache_folder()
    assert found.is_dir() and found.name.startswith("srkd-cache-")
    assert cache_folder() == found
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and "cannot be used (this user has no home)" in line and "SRKD_CACHE" in line


@pytest.mark.parametrize("place", ["/proc/cache", "file/below"])
def test_a_cache_that_cannot_be_written_is_replaced(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / place))
    assert cache_folder().name.startswith("srkd-cache-")
    assert f"{tmp_path / place} cannot be used (" in capsys.readouterr().err
    monkeypatch.setenv("TMPDIR", "/proc/none")
    monkeypatch.setattr("tempfile.mkdtemp", _full)
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / place / "deeper"))
    with pytest.raises(SrkdError, match=r"no cache folder .*deeper \(.*\), nor a temporary one \(No space left"):
        cache_folder()


def _full(prefix: str) -> str:
    raise OSError(28, "No space left on device")


def test_a_world_writable_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setenv("SRKD_CACHE", str(shared))
    shared.chmod(0o777)
    assert cache_folder() != shared
    shared.chmod(0o1777)  # as /tmp: every user may add files, none may change those of others
    assert cache_folder() == shared


def test_world_writable_files_are_not_trusted(tmp_path: Path) -> None:
    file = tmp_path / "a" / "file"
    file.parent.mkdir()
    file.write_text("x")
    (tmp_path / "link").symlink_to(file)
    assert trusted(file.parent, file, tmp_path / "link") and trusted_inside(file.parent)
    assert not trusted(tmp_path / "none") and not trusted_inside(tmp_path / "none")
    file.chmod(0o666)
    assert not trusted(file) and not trusted(tmp_path / "link") and not trusted_inside(file.parent)
    file.chmod(0o664)  # a group of one's own is usual
    assert trusted(file)
    file.parent.chmod(0o777)
    assert not trusted_inside(file.parent)
    mine = own_place(file.parent)
    assert mine == tmp_path / f"a-{os.geteuid()}"
    mine.mkdir()
    assert own_place(file.parent) == mine
    mine.chmod(0o777)
    with pytest.raises(SrkdError, match=r"/a: belongs to another user, or everybody may write there"):
        own_place(file.parent)


@needs_root
def test_files_of_other_users_are_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cache" / "srkd" / "file"
    file.parent.mkdir(parents=True)
    file.write_text("x")
    os.chown(file, STRANGER, -1)
    assert not trusted(file)
    os.chown(file.parent, STRANGER, -1)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert configured_cache() == file.parent != cache_folder()
    monkeypatch.setenv("SRKD_CACHE", str(file.parent))  # named by the user, who thereby trusts its owner
    assert cache_folder() == file.parent and trusted(file)


def test_sampled_checksums_detect_damaged_files(tmp_path: Path) -> None:
    for size in (0, 1000, 5_000_000):
        path = tmp_path / "file"
        whole = os.urandom(size)
        path.write_bytes(whole)
        digest = sampled_sha256(path)
        assert sampled_sha256(path) == digest
        damaged = [whole + b"x", whole[:-1] + bytes([whole[-1] ^ 1])] if size else [b"x"]
        damaged += [whole[: size // 2] + bytes(size // 20) + whole[size // 2 + size // 20 :]] if size else []
        for other in damaged:
            path.write_bytes(other)
            assert sampled_sha256(path) != digest


# Run once as the user that can read this environment, so that everything is imported, then as a user without a name.
TWICE = """
import os, sys
from srkd.cli.main import main
folder, first, user = sys.argv[1:]
command = ["prepare_data", folder, "-s", "2", "--evaluation"]
os.environ["SRKD_CACHE"] = first
assert main(command) == 0
del os.environ["SRKD_CACHE"]
os.setgid(int(user)), os.setuid(int(user))
sys.exit(main(command))
"""


def check(command: list[str], environment: dict[str, str]) -> None:
    """Run a command without the variables that name a home or a cache; it does its work and warns once."""
    kept = {k: v for k, v in os.environ.items() if k not in ("HOME", "SRKD_CACHE", "XDG_CACHE_HOME")}
    whole = [sys.executable, *command]
    done = subprocess.run(whole, env=kept | environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "4 images, x2" in done.stdout.splitlines()[-1], done.stderr
    assert "Traceback" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "so nothing is kept for the next time" in line]) == 1


def test_a_command_works_without_a_cache(photos: Path) -> None:
    check(["-m", "srkd", "prepare_data", str(photos), "-s", "2", "--evaluation"], {"XDG_CACHE_HOME": "/proc"})


@needs_root
@pytest.mark.parametrize("environment", [{"HOME": "/"}, {}], ids=["HOME=/", "no HOME"])
def test_a_command_works_for_a_user_without_a_name(photos: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """As `docker run -u 4321`: no entry in the password file, and HOME, if it is set, is not this user's."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(photos, Path(folder) / "photos")
        (Path(folder) / "photos").chmod(0o755)
        check(["-c", TWICE, str(Path(folder) / "photos"), str(tmp_path), str(STRANGER)], environment)

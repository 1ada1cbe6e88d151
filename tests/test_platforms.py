"""srkd on Windows and macOS, imitated on this system: modules and functions that only POSIX has are hidden."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from srkd import machine
from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.files import atomic, cache, names
from srkd.images.read import ImageData, write_image
from srkd.inference import loading
from srkd.machine import cores, load_average, peak_mb
from srkd.terminal import escaping, tell
from support import textured

# Hides what Windows lacks from srkd alone: libraries were imported before, as their builds for Windows would be.
HIDDEN = """
import builtins, importlib, os, pkgutil, signal, sys
import srkd

def everything():
    for module in pkgutil.walk_packages(srkd.__path__, "srkd."):
        if module.name != "srkd.__main__":
            importlib.import_module(module.name)

everything()
for name in [name for name in sys.modules if name == "srkd" or name.startswith("srkd.")]:
    del sys.modules[name]

def importing(name, globals=None, locals=None, fromlist=(), level=0):
    if name.partition(".")[0] in POSIX and str((globals or {}).get("__name__")).startswith("srkd"):
        raise ImportError(f"{name}, which only POSIX has, imported by {globals['__name__']}")
    return original(name, globals, locals, fromlist, level)

POSIX = {"fcntl", "grp", "pty", "pwd", "resource", "syslog", "termios", "tty"}
original, builtins.__import__ = builtins.__import__, importing
for place, missing in {
    os: ["O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "chown", "fchmod", "fork", "getegid", "geteuid",
         "getgid", "getloadavg", "getuid", "killpg", "mkfifo", "sched_getaffinity", "setsid", "statvfs", "uname"],
    signal: ["SIGALRM", "SIGCHLD", "SIGHUP", "SIGKILL", "SIGQUIT", "SIGUSR1", "alarm", "pthread_sigmask", "setitimer"],
}.items():
    for name in missing:
        delattr(place, name)
sys.platform = "win32"
import srkd
everything()
print("imported")
"""


def test_nothing_of_posix_alone_is_needed_to_import_any_module() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", HIDDEN], capture_output=True, text=True, check=False)
    assert done.stdout == "imported\n", done.stderr[-2000:]


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files as Windows has them: without owners, and without descriptors of folders."""
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_DIRECTORY", "geteuid", "sched_getaffinity", "getloadavg"):
        monkeypatch.delattr(os, name)
    system = SimpleNamespace(platform="win32", stderr=sys.stderr, executable=sys.executable, modules=sys.modules)
    for module in ("files.cache", "files.lock", "machine"):
        monkeypatch.setattr(f"srkd.{module}.sys", system)
    monkeypatch.setattr(atomic, "_DELETED_WHEN_CLOSED", os.O_CLOEXEC)  # which changes nothing
    monkeypatch.setattr(names, "_WINDOWS", True)
    monkeypatch.setattr(shutil, "_use_fd_functions", False)
    monkeypatch.setattr(os, "close", _closing(os.open, os.close, monkeypatch))


def _closing(open_: Any, close: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`os.close` that deletes the files which mark others as in use, as O_TEMPORARY does."""
    marks: dict[int, Path] = {}

    def opening(path: Any, *arguments: Any, **options: Any) -> int:
        assert not Path(path).is_dir(), "Windows cannot open folders"
        descriptor: int = open_(path, *arguments, **options)
        if str(path).endswith(".lock") and atomic.is_partial(Path(path)):
            marks[descriptor] = Path(path)
        return descriptor

    def closing(descriptor: int) -> None:
        close(descriptor)
        if descriptor in marks:
            marks.pop(descriptor).unlink()

    monkeypatch.setattr(os, "open", opening)
    return closing


def test_commands_work_as_on_windows(
    windows: None, recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe["train"]["total_iter"] = 2
    (tmp_path / "recipe.yml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    runs = ["--output", str(tmp_path / "runs")]
    assert main(["train", "-opt", str(tmp_path / "recipe.yml"), *runs]) == 0
    assert main(["train", "-opt", str(tmp_path / "recipe.yml"), *runs]) == 0  # renames the first run
    assert len([path for path in (tmp_path / "runs").iterdir() if path.is_dir()]) == 2
    write_image(tmp_path / "in" / "a.png", ImageData(textured(0, 12, 10)))
    model = str(tmp_path / "runs" / "tiny" / "models" / "net_g_latest.safetensors")
    assert main(["upscale", str(tmp_path / "in"), "-o", str(tmp_path / "out"), "-m", model]) == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.png"]
    assert not list(tmp_path.rglob(".part-*")), capsys.readouterr().err


def test_only_unfinished_files_without_their_mark_are_removed(windows: None, tmp_path: Path) -> None:
    in_use = {".part-0123456789ad.png", ".part-0123456789ad.png.lock"}
    for name in (".part-0123456789ab.png", ".part-0123456789ac", *in_use):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".part-0123456789ae").mkdir()
    atomic.write_text(tmp_path / "a.txt", "whole")
    assert {path.name for path in tmp_path.iterdir()} == {*in_use, "a.txt"}


def test_a_run_is_locked_by_a_file_beside_its_folder(windows: None, tmp_path: Path) -> None:
    from srkd.files.lock import locked_itself

    (tmp_path / "run").mkdir()
    with locked_itself(tmp_path / "run") as free, locked_itself(tmp_path / "run") as twice:
        assert free and not twice
    assert [path.name for path in (tmp_path / "run").iterdir()] == []


def test_a_cache_without_owners_is_trusted(windows: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache").chmod(0o777)  # what Python reports for every folder of Windows
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    assert cache.cache_folder() == tmp_path / "cache"
    assert cache.trusted(tmp_path / "cache") and cache.cache_place("a") == tmp_path / "cache" / "a"
    assert not cache.trusted(tmp_path / "none")


def test_the_machine_without_posix(windows: None) -> None:
    assert cores() == os.cpu_count() and load_average() is None and peak_mb() == 0


def test_the_machine_here() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1) and (load_average() or 0) >= 0 and 10 < peak_mb() < 1e6


@pytest.mark.parametrize(("count", "words"), [(1, ", 1 thread"), (2, ", 2 threads")])
def test_the_machine_in_words(monkeypatch: pytest.MonkeyPatch, count: int, words: str) -> None:
    monkeypatch.setattr(machine, "threads", lambda: count)
    assert machine.processor_and_threads().endswith(words)


@pytest.mark.parametrize("name", ["a:b", "what?", "a*", 'a"b', "a<b", "a|b"])
def test_characters_that_windows_forbids(windows: None, name: str) -> None:
    for check in (names.check_name, names.check_part):
        with pytest.raises(SrkdError, match="Windows"):
            check(name, "the name")


@pytest.mark.parametrize("name", ["con", "NUL.txt", "com1", "lpt9.x2", "a.", "a "])
def test_folders_that_windows_forbids(windows: None, name: str) -> None:
    with pytest.raises(SrkdError, match="Windows"):
        names.check_name(name, "the name")
    assert names.check_name("console x2", "the name") == "console x2"


@pytest.mark.parametrize(
    "name", ["CON.png", "nul", r"C:\photos\aux.jpg", r"com1\a.png", "ab:c.png", r"C:\x \a.png", "a?"]
)
def test_outputs_that_windows_forbids(windows: None, name: str) -> None:
    with pytest.raises(SrkdError, match="Windows does not allow a file or folder named"):
        names.check_output(PureWindowsPath(name))


@pytest.mark.parametrize(
    "name", [r"C:\photos\a.png", r"..\console.png", r"\\server\share\a.png", "C:a.png", r".\x\nullable"]
)
def test_outputs_that_windows_allows(windows: None, name: str) -> None:
    names.check_output(PureWindowsPath(name))


def test_nothing_is_upscaled_into_a_device_of_windows(
    windows: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_image(tmp_path / "a.png", ImageData(textured(0, 8, 8)))
    for output in ("nul.png", "con"):
        assert main(["upscale", str(tmp_path / "a.png"), "-o", str(tmp_path / output), "--dry-run"]) == 1
        assert f'Windows does not allow a file or folder named "{output}"' in capsys.readouterr().err
    with pytest.raises(SrkdError, match=r'named "aux\.txt"'):
        atomic.write_text(tmp_path / "aux.txt", "lost")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_both_separators_of_windows_make_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loading.is_path("folder/model") and not loading.is_path(r"folder\model")
    monkeypatch.setattr(loading, "os", SimpleNamespace(sep="\\", altsep="/"))
    assert loading.is_path(r"folder\model") and loading.is_path("folder/model")


def test_a_console_that_lacks_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    output, errors = (io.TextIOWrapper(io.BytesIO(), encoding="cp1252", write_through=True) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", output)
    monkeypatch.setattr(sys, "stderr", errors)
    with pytest.raises(UnicodeEncodeError):
        print("大きさ.png")
    with escaping():
        print("Größe", "大きさ.png", "\U0001f600")
        print(json.dumps({"é": "大\U0001f600"}, ensure_ascii=False))
        tell("大: not found")
    written = output.buffer.getvalue().decode("cp1252").splitlines()  # type: ignore[attr-defined]
    assert written[0] == r"Größe \u5927\u304d\u3055.png \ud83d\ude00"
    assert json.loads(written[1]) == {"é": "大\U0001f600"}
    assert errors.buffer.getvalue() == rb"\u5927: not found" + b"\n"  # type: ignore[attr-defined]
    assert output.errors == errors.errors == "strict"


def test_a_command_on_a_console_of_windows(tmp_path: Path) -> None:
    """Names, progress and errors in characters that cp1252 lacks, and lines that end as Windows' do."""
    (tmp_path / "写真").mkdir()
    (tmp_path / "写真" / "壊れた.png").write_bytes(b"no image")
    write_image(tmp_path / "写真" / "空.png", ImageData(textured(0, 8, 8)))
    command = ["upscale", str(tmp_path / "写真"), "-o", str(tmp_path / "大"), "--runtime", "torch"]
    code = "import sys; from srkd.cli.main import main; sys.stdout.reconfigure(newline='\\r\\n'); sys.exit(main())"
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--json"], env=environment, capture_output=True, check=False
    )
    assert done.returncode == 2 and b"Traceback" not in done.stderr, done.stderr
    assert rb"\u58ca\u308c\u305f.png" in done.stderr
    assert b"\r\n" in done.stdout and rb"\u7a7a.png" in done.stdout and json.loads(done.stdout)
    assert (tmp_path / "大" / "空.png").is_file()

"""Starting and ending: ports, locks, settings, the temporary folder, Ctrl-C."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from srkd.cli import serve as command
from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.serve.choices import ModelChoices
from srkd.serve.limits import Limits
from srkd.serve.server import ServerSettings, prepared

TOOL = Path(__file__).parents[2] / "tools" / "serve.py"


def silent(line: str) -> None:
    """Ignore a note."""


@pytest.fixture(autouse=True)
def _no_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ModelChoices, "look_up_time", lambda self: False)


def test_a_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 1
    assert capsys.readouterr().err == (
        f"srkd: port {port} of 127.0.0.1 is in use, perhaps by another srkd serve: stop it, or choose another --port\n"
    )


def test_a_second_server_on_one_output_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    settings = ServerSettings(port=0, watch=tmp_path / "in", output=tmp_path / "out")
    with prepared(settings, silent):
        with (
            pytest.raises(
                SrkdError, match=r"out: another srkd serve writes there; stop it, or choose another --output"
            ),
            prepared(settings, silent),
        ):
            pass
        assert list((tmp_path / "out").iterdir()) == [], "the lock leaves no file"
    with prepared(settings, silent):
        pass


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--port", "70000"], "--port 70000: a port is from 0"),
        (["--host", "192.0.2.1", "--port", "0"], "--host 192.0.2.1 is not an address of this machine"),
        (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: no such host"),
        (["--watch", "in"], "--watch IN and --output OUT belong together"),
        (["--watch", "missing", "-o", "out"], "--watch missing: no such folder"),
        (["--watch", "file", "-o", "out"], "--watch file: not a folder"),
        (["--watch", "in", "-o", "in"], "--output in is the watched folder"),
        (["--watch", "in", "-o", "file"], "--output file: not a folder"),
        (["--watch", "in", "-o", "out", "--format", "tga"], "tga can be read but not written"),
        (["--token", "short"], "--token: at least 8 printable ASCII characters"),
        (["--max-megapixels", "0"], "the limit of megapixels must be above 0"),
        (["--max-images", "-1"], "the limit of images must be above 0"),
        (["--max-megabytes", "inf"], "the limit of megabytes must be above 0 and finite"),
        (["-m", "nothing", "--port", "0"], 'unknown zoo model "nothing"'),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str],
    error: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("file").touch()
    assert main(["serve", *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.startswith(f"srkd: {error}") and printed.err.count("\n") == 1


def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["serve"]) == 1
    assert capsys.readouterr().err == (
        "srkd: srkd serve needs starlette, uvicorn, python_multipart: pip install 'srkd[serve]'\n"
    )


def test_the_temporary_folder_is_removed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "serve").mkdir(parents=True)
    (tmp_path / "cache" / "serve" / "mine.txt").write_text("kept", encoding="utf-8")
    with prepared(ServerSettings(port=0), silent) as ready:
        folder = ready.queue.folder
        assert folder.parent == tmp_path / "cache" / "serve" and folder.is_dir()
        (folder / "upload").touch()
    assert [path.name for path in (tmp_path / "cache" / "serve").iterdir()] == ["mine.txt"]


def test_the_printed_address_has_the_token(capsys: pytest.CaptureFixture[str]) -> None:
    with prepared(ServerSettings(port=0), silent) as ready:
        command._announce(ready)
        printed = capsys.readouterr()
        assert printed.out == f"srkd serve: http://127.0.0.1:{ready.access.port}/\n" and "Bearer" not in printed.err
    with prepared(ServerSettings(host="0.0.0.0", port=0), silent) as ready:
        command._announce(ready)
        printed = capsys.readouterr()
        assert printed.out.endswith(f":{ready.access.port}/?token={ready.access.token}\n")
        assert f"Authorization: Bearer {ready.access.token}" in printed.err


def test_limits_of_results() -> None:
    limits = Limits(megapixels=1)
    limits.check_result(500, 500, 2)
    with pytest.raises(SrkdError, match="501x500 at x2 has 1 megapixels, more than the limit of 1"):
        limits.check_result(500, 501, 2)


def test_control_c_ends_it_with_one_line(tmp_path: Path, checkpoint: Path, png: bytes) -> None:
    command = [sys.executable, str(TOOL), "--port", "0", "-m", str(checkpoint)]
    environment: dict[str, Any] = {**os.environ, "SRKD_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(command, env=environment, stdout=-1, stderr=-1, text=True) as child:
        assert child.stdout is not None and child.stderr is not None
        address = child.stdout.readline().split()[-1]
        port = int(address.rstrip("/").rpartition(":")[2])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)  # stays open
        connection.request("POST", "/api/jobs", png)
        assert connection.getresponse().status == 201
        child.send_signal(signal.SIGINT)
        output, errors = child.communicate(timeout=200)
        connection.close()
    assert child.returncode == 130, errors
    assert output == "" and errors.splitlines()[1:] == ["srkd: interrupted"]
    assert list((tmp_path / "cache" / "serve").iterdir()) == []

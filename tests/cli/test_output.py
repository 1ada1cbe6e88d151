"""What all commands share: exit codes, JSON wherever a table is printed, no colours where they are not wanted."""

import argparse
import importlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srkd.cli import main
from srkd.images.read import ImageData, read_image, write_image

ROOT = Path(__file__).parents[2]


def parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """A command's parser, and those of its actions."""
    actions = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    return [inner for action in actions for inner in action.choices.values()] or [parser]


@pytest.mark.parametrize("name", main.commands())
def test_json_wherever_a_table_is_printed(name: str) -> None:
    parser = argparse.ArgumentParser()
    importlib.import_module(f"srkd.cli.{name}").add_arguments(parser)
    source = (ROOT / "srkd" / "cli" / f"{name}.py").read_text(encoding="utf-8")
    if "tables.text" in source or "result.text" in source:
        printing = [p for p in parsers(parser) if not p.prog.endswith("train")]  # `zoo train` prints none
        assert all("--json" in p.format_help() for p in printing)


def strictly(text: str) -> Any:
    """JSON as other languages read it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_an_infinite_psnr_is_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_image(tmp_path / "flat.png", ImageData(np.full((24, 24, 3), 7, np.uint8)))
    assert main.main(["evaluate", "--model", "bicubic", "--scale", "2", "--data", str(tmp_path), "--json"]) == 0
    found = strictly(capsys.readouterr().out)
    assert "inf" in json.dumps(found) and found["models"]


def test_the_zoo_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["zoo", "list", "--json"]) == 0
    assert {"model", "scale", "status"} <= strictly(capsys.readouterr().out)["rows"][0].keys()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["zoo"], 2),
        (["evaluate"], 2),
        (["zoo", "list", "--no"], 2),
        (["trian"], 2),
        (["train"], 1),
        (["upscale", "nowhere", "-o", "x"], 1),
    ],
)
def test_exit_codes(arguments: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        ended = main.main(arguments)
    except SystemExit as stop:
        ended = stop.code
    assert ended == code and code in main.EXIT_CODES


@pytest.mark.parametrize(("number", "word"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
@pytest.mark.parametrize("becomes", [None, RuntimeError("cannot release un-acquired lock")])
def test_signals(
    number: signal.Signals,
    word: str,
    becomes: Exception | None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Also where the interruption falls into one of Python's own locks, which then raises something else."""

    def run(args: argparse.Namespace) -> int:
        try:
            handler = signal.getsignal(number)
            assert callable(handler)
            handler(number, None)
        except KeyboardInterrupt:
            if becomes is not None:
                raise becomes from None
            raise
        return 0

    before = signal.getsignal(number)
    monkeypatch.setattr("srkd.cli.zoo.run", run)
    assert main.main(["zoo", "list"]) == 128 + number
    assert capsys.readouterr().err == f"srkd: {word}\n"
    assert signal.getsignal(number) is before


def test_every_exit_code_is_in_the_overview(capsys: pytest.CaptureFixture[str]) -> None:
    main.main(["--help"])
    overview = capsys.readouterr().out
    assert all(f"  {code} " in overview and meaning in overview for code, meaning in main.EXIT_CODES.items())


@pytest.mark.parametrize("wanted", [True, False])
def test_no_color(wanted: bool) -> None:
    """On a terminal a progress bar is coloured, unless NO_COLOR says otherwise (no-color.org)."""
    code = (
        "import time; from srkd.training.log import Progress\n"
        "with Progress('training', 3) as p:\n    p.update(1); time.sleep(0.3); p.update(3)"
    )
    leader, follower = pty.openpty()
    environment = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {"TERM": "xterm-256color"}
    if not wanted:
        environment["NO_COLOR"] = "1"
    child = subprocess.Popen([sys.executable, "-c", code], stderr=follower, env=environment)
    os.close(follower)
    output = b""
    while True:
        try:
            more = os.read(leader, 4096)
        except OSError:
            break
        if not more:
            break
        output += more
    assert child.wait(30) == 0
    os.close(leader)
    colours = [code for codes in re.findall(rb"\x1b\[([\d;]*)m", output) for code in codes.split(b";") if code]
    assert any(3 <= int(code) // 10 <= 4 or 9 <= int(code) // 10 <= 10 for code in colours) is wanted


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "<&- >&- 2>&-", "| true", "2>/dev/full"])
def test_streams_that_are_closed_change_nothing_else(redirection: str, photos: Path, tmp_path: Path) -> None:
    """With standard streams closed, files are written, exit codes are correct, and no message ends up in a file."""
    if "/dev/full" in redirection and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    name = os.fsdecode(b"odd\xff.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes((photos / "p0.png").read_bytes())
    command = f'set -o pipefail; "$0" -m srkd "$@" {redirection}'
    arguments = ["upscale", "in", "-o", "out", "-m", "edsr_16x8_x2_cc0", "--runtime", "torch", "--precision", "fp32"]
    # Buffered, as usual, whatever this process is: what could not be written is then tried again at exit.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["bash", "-c", command, sys.executable, *arguments],
        cwd=tmp_path,
        capture_output=True,
        env={**environment, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert os.listdir(tmp_path / "out") == [name] and read_image(tmp_path / "out" / name).pixels.shape[1] == 120


@pytest.mark.parametrize("arguments", ["--help", "upscale --help", "zoo list", "no_such"])
def test_output_that_nobody_reads_is_no_error(arguments: str) -> None:
    for redirection in (">&-", "| true"):
        command = f'set -o pipefail; "$0" -m srkd {arguments} {redirection}'
        done = subprocess.run(["bash", "-c", command, sys.executable], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == (2 if arguments == "no_such" else 0), done.stderr
        assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from srkd import networks
from srkd.cli.main import main
from srkd.files.atomic import printable_path
from srkd.images.read import ImageData, write_image
from srkd.terminal import escaping, printable, tell
from srkd.training.checkpoint import save_weights
from srkd.training.log import Progress
from srkd.training.processes import say
from support import textured

EVIL = "a\x1b]0;pwned\x07\x1b[2Jb\nsrkd: all is well\r\x9b2J\u202egnp.exe"


def plain(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


def test_ordinary_text_of_any_script_is_unchanged() -> None:
    for text in ("photo (1).png", "Größe 大きさ קובץ", "a\\b"):
        assert printable(text) == text


def test_control_sequences_are_escaped() -> None:
    assert printable("a\x1b[2Jb\nc\x7f\x9b\u202ed\ud83d\udcff") == ("a\\x1b[2Jb\\nc\\u007f\\u009b\\u202ed\\ud83d\\xff")
    assert printable(EVIL).isprintable()


def test_names_in_files_may_have_half_a_surrogate_pair() -> None:
    assert printable_path("a\ud800\n") == "a\\ud800\\n"
    assert printable_path(os.fsdecode(b"\xff.png")) == "\\xff.png"


def test_every_output_path_is_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    with escaping():
        print("two\nlines\tand", EVIL.replace("\n", ""))
        sys.stderr.writelines([EVIL.replace("\n", "")])
        tell(EVIL)
        say(EVIL)
        with Progress(EVIL, 1) as progress:
            progress.update(1, EVIL)
    out, err = capsys.readouterr()
    assert out.startswith("two\nlines\tand") and plain(out.replace("\t", "")) and plain(err)
    assert "\nsrkd: all is well" not in err


def test_a_standard_error_that_cannot_be_written_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w", encoding="utf-8", buffering=1) as broken:
        monkeypatch.setattr(sys, "stderr", broken)
        with escaping():
            for _ in range(2):
                tell("nobody reads this")
                say("nor this")
            with Progress("frames", 1) as progress:
                progress.update(1)
        os.dup2(2, writing)  # else closing it would try once more


def test_json_stays_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    value = {EVIL: ["\U000e0001", "\x7f", "\u200d"]}
    with escaping():
        print(json.dumps(value, ensure_ascii=False))
    out = capsys.readouterr().out
    assert plain(out) and json.loads(out) == value


def test_names_of_files_and_metadata(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "in"
    write_image(folder / "good.png", ImageData(textured(0, 8, 8)))
    (folder / "e\x1b[2J\nsrkd: done\r.png").write_bytes(b"no image")
    spec = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}
    save_weights(tmp_path / "n\x1b[2Jet.safetensors", networks.build(spec).state_dict(), {"network": spec, "scale": 2})
    named = {**spec, "type": "E\x1b[2J\nSR:X"}
    save_weights(tmp_path / "evil.safetensors", networks.build(spec).state_dict(), {"network": named, "scale": 2})
    for model in ("n\x1b[2Jet.safetensors", "evil.safetensors", "no\x1b[2J\nne.pth"):
        for arguments in (
            ["upscale", str(folder), "-o", str(tmp_path / "out"), "-m", str(tmp_path / model)],
            ["evaluate", "--model", str(tmp_path / model), "--data", str(folder)],
            ["upscale", "\x1b[2J\nx", "-o", "o"],
        ):
            assert main(arguments) in (1, 2)
            out, err = capsys.readouterr()
            assert plain(out) and plain(err) and "\nsrkd: done" not in err


def test_unknown_arguments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["doctor", "--\x1b[2J"])
    assert plain(capsys.readouterr().err)

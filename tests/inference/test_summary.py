from __future__ import annotations

import json
from pathlib import Path

from srkd.inference.jobs import Job, Outcome, as_json, line, summary


def job(name: str, folder: str = "in") -> Job:
    return Job(Path(folder) / name, Path("out") / folder / name, "png")


SIZE = ((3, 4), (6, 8))


def test_lines_say_what_went_where() -> None:
    outcomes = [Outcome(job(f"{n}.png"), "written", SIZE) for n in range(3)]
    outcomes += [Outcome(job("x.png", f"d{n}"), "written", SIZE) for n in range(6)]
    outcomes += [Outcome(job("s.png"), "skipped"), Outcome(job("f.png"), "failed", error="in/f.png: bad")]
    left = [Path("a.heic"), Path("b.HEIC"), Path("notes")]
    assert list(summary(outcomes, left)) == [
        "3 images upscaled from in to out/in",
        *(f"1 image upscaled from d{n} to out/d{n}" for n in range(4)),
        "2 images upscaled from and to 2 more folders",
        "1 image skipped: the output exists",
        "1 image failed",
        "3 files left, not named like an image that is read: 2 .heic, 1 without a suffix",
    ]
    assert list(summary([], [], "net x2")) == []


def test_the_model_and_its_backends_are_named() -> None:
    first = Outcome(job("a.png"), "written", SIZE, backend="openvino bf16")
    assert list(summary([first], [], "net x2")) == ["in/a.png 4x3 -> out/in/a.png 8x6 by net x2, openvino bf16"]
    second = Outcome(job("b.png"), "written", SIZE, backend="torch fp32")
    assert list(summary([second, first], [], "net x2"))[-1] == "upscaled by net x2, openvino bf16, torch fp32"
    failed = Outcome(job("f.png"), "failed", error="in/f.png: bad")
    assert list(summary([failed], [], "net x2")) == ["1 image failed"]


def test_json_holds_everything() -> None:
    outcomes = [Outcome(job("a.png"), "written", SIZE, ("a note",)), Outcome(job("f.png"), "failed", error="why")]
    found = json.loads(as_json(outcomes, [Path("b.txt")]))
    assert found["left"] == ["b.txt"]
    assert found["images"][0] == {
        "source": "in/a.png",
        "target": "out/in/a.png",
        "format": "png",
        "status": "written",
        "size": [4, 3],
        "upscaled_size": [8, 6],
        "notes": ["a note"],
        "error": None,
    }
    assert (found["images"][1]["size"], found["images"][1]["error"]) == (None, "why")


def test_lines_of_a_dry_run() -> None:
    assert line(Outcome(job("a.png"), "planned", SIZE)) == "in/a.png 4x3 -> out/in/a.png 8x6"
    assert line(Outcome(job("a.png"), "skipped")) == "skip out/in/a.png: exists"
    failed = Outcome(job("a.png"), "failed", error="cannot be read: in/a.png: cut")
    assert line(failed) == "cannot be read: in/a.png: cut"

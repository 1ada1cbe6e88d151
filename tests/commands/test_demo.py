import json
from pathlib import Path

import pytest
import torch

from srkd import networks
from srkd.commands import demo
from srkd.errors import SrkdError
from srkd.images.read import ImageData, read_rgb, write_image
from srkd.inference.speed import SpeedMeter
from srkd.training.checkpoint import load_weights, save_weights
from support import textured

SMALL = demo.Size(steps=8, side=96, patch=32, batch=2)


@pytest.fixture
def teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An untrained network in place of the teacher, which would be downloaded."""
    spec = {"type": "EDSR", "num_feat": 6, "num_block": 1, "upscale": 2}
    path = tmp_path / "teacher.safetensors"
    save_weights(path, networks.build(spec).state_dict(), {"network": spec, "scale": 2})
    monkeypatch.setattr(demo, "_teacher", lambda: str(path))
    meter = SpeedMeter(0.001)  # the usual one takes seconds, and has its own test
    monkeypatch.setattr(demo, "SpeedMeter", lambda: meter)
    return str(path)


def test_the_demonstration_writes_all_files(teacher: str, tmp_path: Path) -> None:
    results = demo.run(None, tmp_path / "demo", SMALL)
    out = tmp_path / "demo"
    assert [row["model"].split()[0] for row in results["rows"]] == ["bicubic", "control", "distilled", "teacher"]
    assert all(row["parameters"] == "49,603" for row in results["rows"][1:3])
    assert json.loads((out / "results.json").read_text())["rows"] == results["rows"]
    assert "| distilled" in (out / "results.md").read_text()
    page = (out / "report.html").read_text()
    assert "<svg" in page and "data:image/png" in page and "://" not in page.replace("http://www.w3.org", "")
    held_out = read_rgb(out / "photographs" / "held-out" / "chelsea.png")
    assert read_rgb(out / "upscaled.png").shape == (2 * held_out.shape[0], 2 * held_out.shape[1], 3)


def test_the_two_students_differ_only_in_the_teacher(teacher: str, tmp_path: Path) -> None:
    demo.run(None, tmp_path / "demo", SMALL)
    metas = [
        load_weights(tmp_path / "demo" / name / "models" / "net_g_latest.safetensors")[1]
        for name in ("control", "distilled")
    ]
    lineages = [meta["lineage"] for meta in metas]
    assert [lineage.pop("teacher") for lineage in lineages] == [None, "teacher"]
    assert [lineage.pop("recipe") for lineage in lineages] == ["control", "distilled"]
    assert lineages[0] == lineages[1] and metas[0]["network"] == metas[1]["network"]


def test_user_photographs_are_split_by_image(teacher: str, tmp_path: Path) -> None:
    for number in range(7):
        write_image(tmp_path / "mine" / f"m{number}.jpg", ImageData(textured(number, 150, 100)))
    demo.run(tmp_path / "mine", tmp_path / "demo", SMALL)
    folders = [
        {p.stem for p in (tmp_path / "demo" / "photographs" / part).glob("*.png")} for part in ("training", "held-out")
    ]
    assert folders[0] | folders[1] == {f"m{n}" for n in range(7)} and not folders[0] & folders[1]
    assert max(read_rgb(tmp_path / "demo" / "photographs" / "held-out" / "m0.png").shape) == 96


def test_too_few_photographs_raise(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / "mine" / f"m{number}.png", ImageData(textured(number, 60, 60)))
    with pytest.raises(SrkdError, match="3 photographs; the demonstration needs at least 4"):
        demo.run(tmp_path / "mine", tmp_path / "demo", SMALL)


def test_a_seed_gives_the_same_demonstration(teacher: str, tmp_path: Path) -> None:
    for name in ("a", "b"):
        demo.run(None, tmp_path / name, SMALL)
    one, other = (
        load_weights(tmp_path / n / "distilled" / "models" / "net_g_latest.safetensors")[0] for n in ("a", "b")
    )
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", ["photographs", "control", "distilled"])
def test_folders_of_the_user_are_not_touched(name: str, teacher: str, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    (out / name).mkdir(parents=True)
    (out / name / "wedding.jpg").write_bytes(b"precious")
    with pytest.raises(SrkdError, match="not empty and was not created by srkd"):
        demo.run(None, out, SMALL)
    assert [path.relative_to(out).as_posix() for path in sorted(out.rglob("*"))] == [name, f"{name}/wedding.jpg"]


def test_photographs_of_the_user_in_the_output_folder_are_kept(teacher: str, tmp_path: Path) -> None:
    demo.run(None, tmp_path / "demo", SMALL)
    mine = tmp_path / "demo" / "photographs" / "training" / "wedding.jpg"
    mine.write_bytes(b"precious")
    with pytest.raises(SrkdError, match=r"wedding\.jpg: srkd did not write this"):
        demo.run(None, tmp_path / "demo", SMALL)
    mine.unlink()
    (tmp_path / "demo" / "control" / "notes.txt").write_text("precious")
    demo.run(None, tmp_path / "demo", SMALL)
    assert len(list((tmp_path / "demo").glob("control*/notes.txt"))) == 1

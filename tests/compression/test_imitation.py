"""Compression of a teacher of degraded images."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from srkd import networks
from srkd.compression import finish, flow, measure
from srkd.compression.finish import Compressed
from srkd.compression.request import Request, Settings
from srkd.data.like import jpeg_tables
from srkd.errors import SrkdError
from srkd.imitation import bank
from srkd.metrics.efficientnet import EfficientNetDistance
from srkd.metrics.registry import Metric
from srkd.networks import registry
from srkd.networks.base import Ladder
from srkd.training.checkpoint import load_weights, save_weights
from srkd.training.task import OutOfTimeError
from support import textured

Ask = Callable[..., Request]


def save_teacher(path: Path, scale: int, seed: int = 0) -> str:
    """A network that does not resemble the truth."""
    import torch

    torch.manual_seed(seed)
    spec = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": scale}
    save_weights(path, networks.build(spec).state_dict(), {"network": spec, "scale": scale})
    return str(path)


def _without_weights(self: Metric) -> None:
    raise SrkdError("no network")


@pytest.fixture
def tiny(small: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings and candidates for a bank of one file of four patches."""
    for module in (bank, measure, flow):
        monkeypatch.setattr(module, "SHARD", 4)
    nearest = Ladder("Nearest", widths=(4, 6), depths=(1,), imitates=True)
    monkeypatch.setattr(registry, "ladders", lambda: [("NearestResNet", nearest)])
    monkeypatch.setattr(EfficientNetDistance, "check", _without_weights)
    return replace(small, patches=4, bank_margin=2)


@pytest.fixture
def jpegs(tmp_path: Path) -> str:
    (tmp_path / "mine").mkdir()
    for number in range(3):
        Image.fromarray(textured(number, 60, 70)).save(tmp_path / "mine" / f"{number}.jpg", quality=70)
    return str(tmp_path / "mine")


def compress(ask: Ask, out: Path, settings: Settings, **changes: Any) -> Compressed:
    return flow.compress(replace(ask(seconds=2.0), **changes), out, settings)


def test_the_student_is_judged_by_its_distance_to_the_teacher(
    ask: Ask, tiny: Settings, jpegs: str, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = compress(ask, out, tiny, like=jpegs)
    rows = {row["model"].split()[0]: row for row in done.rows}
    assert list(rows) == ["bicubic", "teacher", "control", "student"]
    assert rows["teacher"]["PSNR (dB)"] is None and rows["teacher"]["ms"] > 0
    assert all(rows[name]["PSNR (dB)"] > 0 and "given" in rows[name]["protocol"] for name in ("bicubic", "student"))
    assert done.results["said"] == "4 degraded patches" and "1 kind of JPEG" in done.results["like"]
    page, card = ((out / name).read_text() for name in ("report.html", "README.md"))
    assert "to the teacher" in page and "to the teacher's outputs" in card
    metas = [
        load_weights(out / "work" / "runs" / name / "models" / "net_g_latest.safetensors")[1]["lineage"]
        for name in ("student", "control")
    ]
    assert [meta["teacher"] for meta in metas] == ["teacher", None]
    folders = list((out / "work" / "answers").iterdir())
    assert sum(folder.name.startswith("imitation-") for folder in folders) == 1  # one bank for all runs
    described = json.loads(next((out / "work" / "answers").glob("imitation-*/bank.json")).read_text())
    assert described["plan"]["levels"]["jpeg"][0][0][0] == list(jpeg_tables(Path(jpegs) / "0.jpg")[0][0])
    before = sorted(path for path in out.rglob("*") if path.is_file())
    assert compress(ask, out, tiny, like=jpegs) == done  # resumed: nothing is left to do
    assert sorted(path for path in out.rglob("*") if path.is_file()) == before


def test_a_compression_resumes_from_another_folder(
    ask: Ask, tiny: Settings, jpegs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = save_teacher(tmp_path / "teacher.safetensors", 2)
    monkeypatch.chdir(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(finish, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        compress(ask, Path("out"), tiny, teacher="teacher.safetensors", like="mine")
    run = yaml.safe_load((tmp_path / "out" / "work" / "runs" / "student" / "recipe.yml").read_text(encoding="utf-8"))
    train = run["datasets"]["train"]
    named = [train["like"], train["dataroot_gt"], run["network_g_teacher"]["file"], run["bank"]["dir"]]
    assert all(Path(path).is_absolute() for path in named)  # on another machine the working folder is another one
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert compress(ask, tmp_path / "out", tiny, teacher=teacher, like=jpegs).within_budget


def test_a_teacher_of_a_multiple_of_the_scale_is_imitated_and_others_raise(
    ask: Ask, tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the perceptual distance, whose weights are not needed here."""
    monkeypatch.setattr(EfficientNetDistance, "check", lambda self: None)
    monkeypatch.setattr(EfficientNetDistance, "__call__", lambda self, pair: 0.25)
    teacher = save_teacher(tmp_path / "x4.safetensors", 4)
    done = compress(ask, tmp_path / "out", tiny, teacher=teacher, imitate=True, control=False)
    assert done.student.scale == 2 and done.rows[-1]["PSNR (dB)"] > 0
    assert done.rows[-1]["EfficientNet distance"] == 0.25
    assert "EfficientNet distance |" in (tmp_path / "out" / "README.md").read_text()
    other = save_teacher(tmp_path / "x3.safetensors", 3)
    with pytest.raises(SrkdError, match="x3 is a network for x3, which is not a multiple of x2"):
        compress(ask, tmp_path / "b", tiny, teacher=other, imitate=True)


def test_another_teacher_in_its_place_raises(
    ask: Ask, tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tmp_path / "t.safetensors"
    save_teacher(teacher, 2)
    monkeypatch.setattr(flow, "choose", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        compress(ask, tmp_path / "out", tiny, teacher=str(teacher), imitate=True)
    shutil.copyfile(save_teacher(tmp_path / "other.safetensors", 2, seed=1), teacher)
    with pytest.raises(SrkdError, match=r"answers: outputs of another teacher than .* is now; restore its file"):
        compress(ask, tmp_path / "out", tiny, teacher=str(teacher), imitate=True)


def test_a_bank_that_takes_too_long_is_used_as_far_as_it_is_built(
    ask: Ask, tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    build = bank.Bank.build

    def late(self: bank.Bank, update: Any, deadline: float | None) -> None:
        build(replace(self, count=4), update)
        if self.count > 4:
            raise OutOfTimeError("stopped with 4 of 12 patches")

    monkeypatch.setattr(bank.Bank, "build", late)
    done = compress(ask, tmp_path / "out", replace(tiny, patches=12), imitate=True, control=False)
    assert json.loads((tmp_path / "out" / "work" / "answers.json").read_text())["patches"] == 4
    assert "notice: stopped with 4 of 12" in capsys.readouterr().err and done.rows[-1]["PSNR (dB)"] > 0


def test_too_slow_a_teacher_raises(ask: Ask, tiny: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_time_teacher", lambda *_: {"seconds per pixel": 1.0})
    with pytest.raises(SrkdError, match=r"--time is too short: .* for 4 patches of 10x10 pixels"):
        compress(ask, tmp_path / "out", tiny, imitate=True)


def test_imitation_is_suggested_for_a_teacher_that_is_worse_than_bicubic(
    ask: Ask, small: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.dry_run(ask(), small)  # the untrained teacher of the other tests
    assert "if it does, use --imitate" in capsys.readouterr().err
    monkeypatch.setattr(measure, "_compare_with_bicubic", lambda job: {"teacher": 30.0, "bicubic": 29.0})
    flow.dry_run(ask(), small)
    assert "--imitate" not in capsys.readouterr().err


def test_wrong_folders_raise_before_anything_is_measured(
    ask: Ask, tiny: Settings, six: str, jpegs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "prepare", lambda job: pytest.fail("measured"))
    with pytest.raises(SrkdError, match="no JPEG files"):
        compress(ask, tmp_path / "a", tiny, like=six)
    shutil.copyfile(f"{six}/p0.png", f"{jpegs}/other.png")
    with pytest.raises(SrkdError, match="3 JPEG files and 1 PNG"):
        compress(ask, tmp_path / "b", tiny, like=jpegs)


def test_old_folders_can_be_resumed(ask: Ask) -> None:
    assert not {"imitate", "like"} & ask().identity().keys()
    assert replace(ask(), like="photos").identity()["imitate"] is True

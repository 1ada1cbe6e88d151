"""The task imitation: what the student learns, from which bank, and mistakes found before training."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srkd.errors import SrkdError
from srkd.images.read import read_rgb
from srkd.imitation.task import Task, held_out, with_held_out
from srkd.imitation.teachers import open_teacher
from srkd.training.checkpoint import load_weights
from srkd.training.recipe import override
from srkd.training.run import Run


def ready(recipe: dict[str, Any], root: Path, *settings: str) -> Task:
    (task,) = Run(override(recipe, settings), root, quiet=True).set_up()
    assert isinstance(task, Task)
    return task


def train(recipe: dict[str, Any], root: Path, *settings: str) -> dict[str, Any]:
    return Run(override(recipe, settings), root, quiet=True).train()


def test_the_student_approaches_the_teacher(imitation: dict[str, Any], tmp_path: Path) -> None:
    few, many = (
        train(imitation, tmp_path, f"name={name}", f"train.total_iter={steps}", "train.optim_g.lr=5e-3")
        for name, steps in (("few", 1), ("many", 60))
    )
    assert many["metrics"]["psnr_photos"] > few["metrics"]["psnr_photos"] + 1
    meta = load_weights(Path(many["models"]["net_g"]))[1]
    assert meta["lineage"]["teacher"] == "teacher" and meta["scale"] == 4


def test_losses_compare_with_the_teacher_unless_they_name_the_ground_truth(
    imitation: dict[str, Any], tmp_path: Path
) -> None:
    losses = [{"type": "L1Loss"}, {"type": "L1Loss", "target": "gt", "name": "truth"}]
    imitation["train"]["losses"] = losses
    task = ready(imitation, tmp_path)
    assert [term.against for term in task.objective.terms] == ["teacher", "target"]
    batch = task.batch(0)
    teacher = open_teacher(imitation["network_g_teacher"])
    row = task.bank.open()[0][int(batch["index"][0])]
    np.testing.assert_array_equal(row["output"], teacher(row["lr"][None])[0])
    assert not torch.equal(batch["hr"], batch["teacher_output"])
    without = ready(imitation, tmp_path, "train.losses=[{type: L1Loss}]")
    assert set(without.source.draw(0)) == {"lr", "teacher_output", "index"}


def test_a_control_needs_the_same_teacher_and_learns_nothing_from_it(imitation: dict[str, Any], tmp_path: Path) -> None:
    imitation["train"]["losses"] = [{"type": "L1Loss", "target": "gt"}]
    task = ready(imitation, tmp_path)
    assert task.meta("net_g")["lineage"]["teacher"] is None
    assert not task.objective.needs_teacher


def test_a_student_of_half_the_scale_learns_the_shrunk_output(imitation: dict[str, Any], tmp_path: Path) -> None:
    task = ready(imitation, tmp_path, "scale=2", "datasets.train.gt_size=12")
    batch = task.batch(0)
    assert batch["lr"].shape == (4, 3, 6, 6) and batch["teacher_output"].shape == (4, 3, 12, 12)
    assert task.validate(0, tmp_path)["psnr_photos"] > 0


def test_with_a_discriminator_the_real_images_are_the_teachers(imitation: dict[str, Any], tmp_path: Path) -> None:
    imitation["network_d"] = {"type": "SRGANDiscriminator", "num_feat": 2, "input_size": 16, "num_dense": 4}
    imitation["train"] |= {"optim_d": {"type": "Adam"}, "gan_opt": {"type": "GANLoss", "loss_weight": 0.1}}
    task = ready(imitation, tmp_path, "datasets.train.gt_size=16")
    batch = task.batch(0)
    assert torch.equal(task.real_images(batch), batch["teacher_output"])
    result = train(imitation, tmp_path, "datasets.train.gt_size=16", "name=gan")
    assert result["finished"] and set(result["models"]) == {"net_g", "net_d"}


def test_held_out_images_are_the_teachers_outputs_for_degraded_inputs(
    imitation: dict[str, Any], tmp_path: Path, photos: Path
) -> None:
    imitation["datasets"]["val_2"] = {"name": "plain", "dataroot_gt": str(photos), "degrade": False, "crop": 10}
    imitation["bank"]["dir"] = str(tmp_path / "banks")
    task = ready(imitation, tmp_path)
    degraded, plain = (
        Path(found.dataroot_lq or "").parent
        for found in with_held_out(task.recipe, held_out(task.recipe, task.output_teacher)).datasets.validation()
    )
    teacher = open_teacher(imitation["network_g_teacher"])
    for folder, shape in ((degraded, (12, 15, 3)), (plain, (10, 10, 3))):
        lr = read_rgb(folder / "lr" / "000_p0.png")
        assert lr.shape == shape
        np.testing.assert_array_equal(read_rgb(folder / "hr" / "000_p0.png"), teacher(lr[None])[0])
    whole = read_rgb(photos / "p0.png")
    np.testing.assert_array_equal(read_rgb(plain / "lr" / "000_p0.png"), whole[19:29, 25:35])
    assert not (plain / "gt").exists()
    assert read_rgb(degraded / "gt" / "000_p0.png").shape == (48, 60, 3)


def test_held_out_images_of_equal_names_in_several_folders(
    imitation: dict[str, Any], tmp_path: Path, photos: Path
) -> None:
    for folder in ("x", "y"):
        (tmp_path / "val" / folder).mkdir(parents=True)
        shutil.copyfile(photos / "p0.png", tmp_path / "val" / folder / "p0.png")
    (tmp_path / "list.txt").write_text("x/p0.png\ny/p0.png\n", encoding="utf-8")
    files = {"dataroot_gt": str(tmp_path / "val"), "meta_info_file": str(tmp_path / "list.txt")}
    imitation["datasets"]["val"] = {"name": "photos", **files}
    assert ready(imitation, tmp_path).validate(0, tmp_path)["psnr_photos"] > 0


def test_a_dry_run_builds_nothing(
    imitation: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imitation["bank"] |= {"dir": str(tmp_path / "banks"), "patches": 5000}
    Run(imitation, tmp_path, quiet=True).dry_run()
    assert not (tmp_path / "banks").exists()
    assert "bank of 5,000 patches of 8x8 with the outputs of teacher: 16 MB" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("network_g_teacher=null", "an imitation needs one network_g_teacher"),
        ("network_g_teacher={type: EDSR}", "network_g_teacher: must be {zoo: name} or {file: path}"),
        ("scale=3", "teacher is a network for x4, which is not a multiple of x3"),
        ("bank.lr_size=4", r"gt_size 24 needs LR patches of 6, but the bank's are 4 \(bank.lr_size\)"),
        ("bank.lr_size=99", "no image is as large as a patch of 396 pixels"),
        ("bank.max_bytes=1000", "more than bank.max_bytes"),
        ("bank.patches=3", "the bank has 3 patches, fewer than a batch of 4"),
        ("train.losses=[{type: at, at: body.0}]", "an imitation has a bank of outputs only"),
        ("noise_range2=[5, 1]", "second pass, noise_range: needs two numbers, the lower one first"),
        ("datasets.train.kernel_list=[isoo]", "no kernel 'isoo'"),
        ("datasets.train.slight_prob=0.95", "clean_prob and slight_prob: their sum is 1.05, above 1"),
    ],
)
def test_mistakes_are_found_by_a_dry_run(imitation: dict[str, Any], tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        Run(override(imitation, [setting]), tmp_path, quiet=True).dry_run()


def test_the_budget_covers_the_bank_and_a_later_slice_trains(
    imitation: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    imitation["bank"]["dir"] = str(tmp_path / "banks")
    result = Run(imitation, tmp_path, budget=0).train()
    assert not result["finished"] and result["models"] == {}
    assert "stopped at image 0 of photos; run again to continue" in capsys.readouterr().err
    assert Run(imitation, tmp_path, resume=True, quiet=True).train()["finished"]

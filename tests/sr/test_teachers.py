"""Teachers of an SR recipe, from the recipe to the loss: several of them, self-ensembled ones, and their caches."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from srkd.data.patches import OUTPUT_STEPS
from srkd.errors import SrkdError
from srkd.inference.loading import load_model
from srkd.sr.task import Task
from srkd.training.checkpoint import load_weights
from srkd.training.recipe import merge
from srkd.training.run import Run


@pytest.fixture
def files(recipe: dict[str, Any], tmp_path: Path) -> list[str]:
    """Checkpoints of two teachers of different width."""
    found = []
    for number in (1, 2):
        changes = {"name": f"teacher_{number}", "manual_seed": number, "network_g": {"num_feat": 4 + 2 * number}}
        found.append(Run(merge(recipe, changes), tmp_path, quiet=True).train()["models"]["net_g"])
    return found


def distilled(recipe: dict[str, Any], teacher: Any, **cache: Any) -> dict[str, Any]:
    train = {"losses": [{"type": "L1Loss"}, {"type": "output"}]}
    return merge(recipe, {"network_g_teacher": teacher, "train": train, "cache": cache})


def ready(recipe: dict[str, Any], root: Path) -> Task:
    (task,) = Run(recipe, root, quiet=True).set_up()
    assert isinstance(task, Task)
    return task


@torch.no_grad()
def run(file: str, lr: Tensor) -> Tensor:
    return load_model(file).network(lr)


def caches(kind: str = "outputs") -> set[str]:
    return {path.name for path in (Path(os.environ["SRKD_CACHE"]) / "teachers").glob(f"{kind}-*") if path.is_dir()}


@pytest.mark.parametrize("kind", ["live", "bank"])
@pytest.mark.parametrize("weights", [None, (1, 3)])
def test_the_loss_compares_with_the_weighted_mean(
    recipe: dict[str, Any], files: list[str], tmp_path: Path, weights: tuple[int, int] | None, kind: str
) -> None:
    teachers = [{"file": file} for file in files]
    if weights:
        teachers = [{**spec, "weight": weight} for spec, weight in zip(teachers, weights, strict=True)]
    task = ready(distilled(recipe, teachers, kind=kind, patches=8), tmp_path)
    batch = task.batch(0)
    one, other = (run(file, batch["lr"]) for file in files)
    first, second = weights or (1, 1)
    expected = (first * one + second * other) / (first + second)
    error = 2e-6 if kind == "live" else 0.6 / OUTPUT_STEPS
    torch.testing.assert_close(task.teacher(batch).output, expected, rtol=0, atol=error)
    next(task.steps(batch, 0))
    with torch.no_grad():
        value = (task.student(batch["lr"]) - expected).abs().mean()
    assert float(task.log["l_output"]) == pytest.approx(value.item(), abs=error)
    assert not torch.allclose(one, other, atol=1e-2)


def test_each_teacher_has_its_own_cache_which_other_runs_share(
    recipe: dict[str, Any], files: list[str], tmp_path: Path
) -> None:
    before = caches()
    single = [ready(distilled(recipe, {"file": file}), tmp_path) for file in files]
    built = caches() - before
    both = ready(distilled(recipe, [{"file": files[0], "weight": 0.5}, {"file": files[1], "weight": 1.5}]), tmp_path)
    assert len(built) == 2 and caches() - before == built
    one, other = (task.teacher(task.batch(3)).output for task in single)
    torch.testing.assert_close(both.teacher(both.batch(3)).output, (one + 3 * other) / 4, rtol=0, atol=1e-6)
    result = Run(distilled(recipe, [{"file": file} for file in files]), tmp_path, quiet=True).train()
    assert load_weights(Path(result["models"]["net_g"]))[1]["lineage"]["teacher"] == "net_g_latest, net_g_latest"


def slow_self_ensemble(file: str, lr: Tensor) -> Tensor:
    """The mean over the four rotations of the image and of its mirror image, one at a time."""
    total = torch.zeros(())
    for mirrored in (False, True):
        for quarter in range(4):
            view = torch.rot90(lr.flip(-1) if mirrored else lr, quarter, (-2, -1))
            back = torch.rot90(run(file, view.contiguous()), -quarter, (-2, -1))
            total = total + (back.flip(-1) if mirrored else back).double()
    return (total / 8).float()


@pytest.mark.parametrize("kind", ["outputs", "live", "bank"])
def test_a_self_ensembled_teacher(recipe: dict[str, Any], files: list[str], tmp_path: Path, kind: str) -> None:
    folders = caches("bank" if kind == "bank" else "outputs")
    plain = ready(distilled(recipe, {"file": files[0]}, kind=kind, patches=8), tmp_path)
    between = caches("bank" if kind == "bank" else "outputs")
    task = ready(distilled(recipe, {"file": files[0], "self_ensemble": True}, kind=kind, patches=8), tmp_path)
    after = caches("bank" if kind == "bank" else "outputs")
    # It has a cache of its own; the plain teacher's outputs may already be there.
    assert kind == "live" or (len(after - between) == 1 and len(between - folders) <= 1)
    assert task.dependencies()["the teacher"] != plain.dependencies()["the teacher"]
    batch = task.batch(0)
    if kind == "outputs":
        lr = torch.from_numpy(task.images.lr(1).copy()).permute(2, 0, 1)[None] / 255
        cached = torch.from_numpy(task.source.outputs["teacher_output"].image(1).copy()).permute(2, 0, 1)[None]
        found = cached.float() / OUTPUT_STEPS
    else:
        lr, found = batch["lr"], task.teacher(batch).output
    expected = slow_self_ensemble(files[0], lr)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.6 / OUTPUT_STEPS)
    assert (expected - run(files[0], lr)).abs().max() > 1e-3


@pytest.mark.parametrize("kind", ["outputs", "live", "bank"])
def test_the_older_key_of_the_cache_means_the_same(
    recipe: dict[str, Any], files: list[str], tmp_path: Path, kind: str
) -> None:
    new = ready(distilled(recipe, {"file": files[0], "self_ensemble": True}, kind=kind, patches=8), tmp_path)
    before = caches("bank" if kind == "bank" else "outputs")
    old = ready(distilled(recipe, {"file": files[0]}, kind=kind, patches=8, self_ensemble=True), tmp_path)
    assert caches("bank" if kind == "bank" else "outputs") == before
    assert torch.equal(old.teacher(old.batch(0)).output, new.teacher(new.batch(0)).output)
    assert old.dependencies() == new.dependencies()


def test_resuming_with_other_teachers_raises(recipe: dict[str, Any], files: list[str], tmp_path: Path) -> None:
    teachers: list[dict[str, Any]] = [{"file": files[0]}, {"file": files[1], "weight": 2}]
    Run(distilled(recipe, teachers), tmp_path, budget=0, quiet=True).train()
    others = [
        [teachers[0], {**teachers[1], "weight": 3}],
        [teachers[0], {**teachers[1], "self_ensemble": True}],
        teachers[0],
    ]
    for changed in others:
        with pytest.raises(SrkdError, match="because the teacher changed"):
            Run(distilled(recipe, changed), tmp_path, resume=True, quiet=True).dry_run()
    whole = Run({**distilled(recipe, teachers), "name": "whole"}, tmp_path, quiet=True).train()
    cut = Run(distilled(recipe, teachers), tmp_path, resume=True, quiet=True).train()
    ours, theirs = (load_weights(Path(result["models"]["net_g"]))[0] for result in (whole, cut))
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_mistakes_in_teachers_raise(recipe: dict[str, Any], files: list[str], tmp_path: Path) -> None:
    x3 = merge(recipe, {"name": "x3", "scale": 3, "datasets": {"train": {"gt_size": 15}}, "train": {"total_iter": 1}})
    wrong = Run(x3, tmp_path, quiet=True).train()["models"]["net_g"]
    good, features = {"file": files[0]}, [{"type": "L1Loss"}, {"type": "at", "at": "body.0"}]
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ([good, {"file": wrong}], {}, r"network_g_teacher\[2\]: .* is a network for x3, not x2"),
        ([], {}, "network_g_teacher: the list of teachers is empty"),
        ([good, good], {"train": {"losses": features}}, "at: compares features of the teacher .*: use one teacher"),
        ({**good, "self_ensemble": True}, {"train": {"losses": features}}, "at: .* self_ensemble does not average"),
        ([good, {**good, "weight": 0}], {}, "weight of teacher 2: must be a number above 0, got 0"),
        ([good, {**good, "weight": "2"}], {}, "weight of teacher 2: must be a number above 0, got '2'"),
        (
            good,
            {"train": {"losses": features}, "cache": {"self_ensemble": True}},
            "at: .* self_ensemble does not average",
        ),
        ({**good, "self_ensemble": 8}, {}, "network_g_teacher.self_ensemble: must be true or false, got 8"),
        ([good, {"zoo": "nothing"}], {}, r'network_g_teacher\[2\]: unknown zoo model "nothing"'),
        ([good, {**good, "wait": 1}], {}, r'network_g_teacher\[2\]: unknown option "wait"'),
        ([good, {"type": "EDSR"}], {}, r"network_g_teacher\[2\] has random weights: give zoo or file"),
        ([good, good], {"path": {"pretrain_network_g_teacher": files[0]}}, "the weights of one teacher"),
        (good, {"cache": {"kind": "bank", "patches": 3}}, "the bank has 3 patches, fewer than a batch of 4"),
        ([good, good], {"cache": {"kind": "bank", "taps": ["body.0"]}}, r"cache\.taps: .* has no features"),
        (
            [good, {**good, "self_ensemble": True}],
            {"cache": {"max_bytes": 10, "dir": str(tmp_path)}},
            "net_g_latest's outputs and net_g_late",
        ),
    ]
    for teacher, changes, message in cases:
        with pytest.raises(SrkdError, match=message) as error:
            Run(merge(distilled(recipe, teacher), changes), tmp_path, quiet=True).dry_run()
        assert "\n" not in str(error.value)
    with pytest.raises(SrkdError, match=r"\[1\]: .*none.*; network_g_teacher\[2\]: .*for x3"):
        Run(distilled(recipe, [{"file": "none.pth"}, {"file": wrong}]), tmp_path, quiet=True).dry_run()


def test_a_dry_run_builds_no_cache(recipe: dict[str, Any], files: list[str], tmp_path: Path) -> None:
    before = caches()
    teacher = [{"file": files[0]}, {"file": files[1], "self_ensemble": True}]
    (task,) = Run(distilled(recipe, teacher), tmp_path, quiet=True).dry_run()
    assert caches() == before and np.isfinite(float(task.log["l_output"]))


def test_zoomed_patches_are_labelled_by_the_teachers(recipe: dict[str, Any], files: list[str], tmp_path: Path) -> None:
    teachers = [{"file": files[0]}, {"file": files[1], "weight": 3}]
    zoomed = merge(distilled(recipe, teachers), {"datasets": {"train": {"zoomed": 0.5, "batch_size_per_gpu": 32}}})
    task = ready(zoomed, tmp_path)
    batch = task.batch(0)
    chosen = torch.as_tensor(batch["index"]) >= len(task.usable)
    assert 4 < chosen.sum() < 28
    built = caches()
    outputs = (batch["teacher_output_1"] + 3 * batch["teacher_output_2"]) / 4
    assert (batch["hr"] - outputs.clamp(0, 1))[chosen].abs().max() < 0.6 / 255
    assert (batch["hr"] - outputs.clamp(0, 1))[~chosen].abs().max() > 2 / 255
    assert Run(merge(zoomed, {"train": {"total_iter": 2}}), tmp_path, quiet=True).train()["finished"]
    assert caches() == built


@pytest.mark.parametrize(
    "changes",
    [
        {"network_g_teacher": None, "train": {"losses": [{"type": "L1Loss"}]}},
        {"cache": {"kind": "live"}},
        {"cache": {"kind": "bank"}},
    ],
    ids=["no teacher", "live", "bank"],
)
def test_zoomed_patches_need_cached_outputs(
    recipe: dict[str, Any], files: list[str], tmp_path: Path, changes: dict[str, Any]
) -> None:
    zoomed = merge(distilled(recipe, {"file": files[0]}), {"datasets": {"train": {"zoomed": 0.5}}})
    with pytest.raises(SrkdError, match=r"datasets\.train\.zoomed: needs a teacher to label the patches"):
        Run(merge(zoomed, changes), tmp_path, quiet=True).dry_run()


def test_options_that_change_no_weight_change_the_cache(
    recipe: dict[str, Any], files: list[str], tmp_path: Path
) -> None:
    """img_range is not among the weights: the outputs of one range must not stand for those of another."""
    described = {"type": "EDSR", "num_feat": 8, "num_block": 1}
    teacher = {**recipe, "name": "t", "network_g": described, "train": {**recipe["train"], "total_iter": 1}}
    path = Run(teacher, tmp_path, quiet=True).train()["models"]["net_g"]
    found = []
    for img_range in (1.0, 255.0):
        given = {
            **recipe,
            "network_g_teacher": {**described, "img_range": img_range},
            "path": {"pretrain_network_g_teacher": path},
            "cache": {"kind": "outputs", "dir": str(tmp_path / "caches")},
            "train": {**recipe["train"], "losses": [{"type": "L1Loss"}, {"type": "output"}]},
        }
        (task,) = Run(given, tmp_path, quiet=True).set_up()
        assert isinstance(task, Task)
        found.append((task.fingerprint()["the teacher"], task.source.outputs["teacher_output"].image(0)))
    assert found[0][0] != found[1][0] and not np.array_equal(found[0][1], found[1][1])

"""The task end to end on a synthetic CIFAR-100: teachers, students, calibration, committed recipes, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_images import write_cifar100

from srkd.adapters.classification import reliability
from srkd.adapters.classification.networks import Classifier
from srkd.errors import SrkdError
from srkd.studies import plan, results
from srkd.studies.runs import Comparison
from srkd.training import recipe as recipes
from srkd.training.checkpoint import load_weights
from srkd.training.recipe import merge
from srkd.training.run import Run

STUDIES = Path(__file__).parents[3] / "models" / "studies"
CE = {"type": "CrossEntropyLoss"}
PAIRS = {"student": "stages.{1,2}", "teacher": "stages.{1,2}"}


def train(recipe: dict[str, Any], root: Path, **changes: Any) -> dict[str, Any]:
    return Run(merge(recipe, changes), root, quiet=True).train()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("teacher")
    write_cifar100(folder / "c.tar.gz")
    recipe = {
        "name": "teacher",
        "task": "classification",
        "network": {"type": "ResNet8"},
        "batch_size": 16,
        "data": {"root": str(folder / "c.tar.gz"), "held_out": 16, "augment": False},
        "train": {
            "total_iter": 20,
            "optim": {"type": "SGD", "lr": 0.1, "momentum": 0.9},
            "losses": [CE],
            "precision": "fp32",
        },
        "logger": {"use_tb_logger": False},
    }
    return str(Run(recipe, folder, quiet=True).train()["models"]["net"])


def test_training_learns_and_reports_scores(recipe: dict[str, Any], tmp_path: Path) -> None:
    result = train(recipe, tmp_path, data={"augment": False}, train={"total_iter": 20})
    metrics = result["metrics"]
    assert metrics["accuracy"] > 50
    assert {"nll", "brier", "ece", "adaptive_ece", "classwise_ece", "temperature", "ece_scaled"} <= set(metrics)
    weights, meta = load_weights(result["models"]["net"])
    assert meta["classes"] == ["apple", "bee", "cup", "deer"] and weights["head.weight"].shape[0] == 4
    found = json.loads((tmp_path / "tiny" / "scores.json").read_text(encoding="utf-8"))["test"]
    assert len(found["metrics"]["accuracy"]) == 32 and "32 test images" in found["protocol"]
    bins = reliability.read(tmp_path / "tiny")
    gaps = np.abs(np.subtract(bins["accuracy"], bins["confidence"])) * bins["share"]
    assert gaps.sum() == pytest.approx(metrics["ece"])
    reliability.plot({"tiny": bins}, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_a_run_in_bf16_is_scored_in_fp32(
    recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    forward = Classifier.forward

    def spied(network: Classifier, x: torch.Tensor) -> torch.Tensor:
        output = forward(network, x)
        logits[network.training].add(output.dtype)
        return output

    monkeypatch.setattr(Classifier, "forward", spied)
    train(recipe, tmp_path, train={"precision": "bf16", "fp32_after": 1.0})
    assert logits == {True: {torch.bfloat16}, False: {torch.float32}}


@pytest.mark.parametrize(
    "losses",
    [
        [{**CE, "weight": 0.1}, {"type": "kd", "weight": 0.9}],
        [CE, {"type": "dkd"}],
        [CE, {"type": "fitnet", "at": PAIRS}, {"type": "at", "at": PAIRS}, {"type": "sp", "at": PAIRS}],
        [CE, {"type": "crd", "at": "stages.2"}, {"type": "review", "at": PAIRS}],
        [{"type": "focal", "gamma": 3}, {"type": "iekd", "at": PAIRS, "dim": 16}],
        [{"type": "flsd"}],
    ],
    ids=lambda losses: "+".join(term["type"] for term in losses),
)
def test_losses_of_the_core_work(
    losses: list[dict[str, Any]], recipe: dict[str, Any], teacher: str, tmp_path: Path
) -> None:
    changes = {"train": {"losses": losses, "total_iter": 2}, "network_teacher": {"file": teacher}}
    assert train(recipe, tmp_path, **changes)["finished"]


def test_mixup_trains_on_mixed_images_and_labels(recipe: dict[str, Any], tmp_path: Path) -> None:
    mixed = merge(recipe, {"data": {"mixup": 1.0, "augment": False}})
    (task,) = Run(mixed, tmp_path, quiet=True).set_up()
    (plain,) = Run(merge(mixed, {"data": {"mixup": 0.0}}), tmp_path, quiet=True).set_up()
    batch, clear = task.batch(3), plain.batch(3)
    assert batch["target"].shape == (16, 4) and torch.allclose(batch["target"].sum(1), torch.ones(16))
    share = batch["target"].gather(1, clear["target"][:, None]).min()
    assert 0 < share < 1
    assert batch["input"].mean() == pytest.approx(clear["input"].mean().item(), rel=1e-4)
    assert train(mixed, tmp_path)["finished"]


def test_scale_teacher_divides_logits_by_the_fitted_temperature(
    recipe: dict[str, Any], teacher: str, tmp_path: Path
) -> None:
    losses = {"train": {"losses": [CE, {"type": "kd"}]}, "network_teacher": {"file": teacher}}
    predictions = []
    for scaled in (False, True):
        (task,) = Run(merge(recipe, {**losses, "scale_teacher": scaled}), tmp_path, quiet=True).set_up()
        predictions.append(task.teacher(task.batch(0)).output)
    temperature = load_weights(teacher)[1]["metrics"]["temperature"]
    assert temperature != 1 and torch.allclose(predictions[1] * temperature, predictions[0], atol=1e-5)


def test_held_out_images_are_scored_to_choose_settings(recipe: dict[str, Any], tmp_path: Path) -> None:
    result = train(recipe, tmp_path, data={"held_out": 16, "scored": "held_out"}, train={"total_iter": 1})
    found = json.loads((tmp_path / "tiny" / "scores.json").read_text(encoding="utf-8"))
    assert list(found) == ["held-out"] and "16 held-out images" in found["held-out"]["protocol"]
    assert "accuracy" in result["metrics"] and "temperature" not in result["metrics"]


def test_a_teacher_of_other_classes_raises(recipe: dict[str, Any], teacher: str, tmp_path: Path) -> None:
    def distil(names: list[bytes]) -> None:
        write_cifar100(tmp_path / "four.tar.gz", names=names)
        data, losses = {"root": str(tmp_path / "four.tar.gz")}, {"losses": [CE, {"type": "kd"}]}
        train(recipe, tmp_path, data=data, network_teacher={"file": teacher}, train={**losses, "total_iter": 1})

    with pytest.raises(SrkdError, match=r'for other classes: it has "cup" where .*four.tar.gz has "cap": train it on'):
        distil([b"apple", b"bee", b"cap", b"deer"])
    distil([b"0", b"1", b"2", b"3"])  # classes without names, as in MNIST's files


def test_different_class_counts_raise(recipe: dict[str, Any], teacher: str, tmp_path: Path) -> None:
    names = [b"a", b"b", b"c", b"d", b"e"]
    write_cifar100(
        tmp_path / "five.tar.gz",
        names=names,
        fine_labels=[0, 1, 2, 3, 4] * 12 + [0, 1, 2, 3],
        test_labels=[0, 1, 2, 3, 4] * 6 + [0, 1],
    )
    changes = {
        "data": {"root": str(tmp_path / "five.tar.gz")},
        "network_teacher": {"file": teacher},
        "train": {"losses": [CE, {"type": "kd"}]},
    }
    with pytest.raises(SrkdError, match=r"a network with 4 classes, but .*five.tar.gz has 5: train it on that"):
        train(recipe, tmp_path, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"root": "nowhere/cifar"}}, "nowhere/cifar: no such file.*cifar-100-python.tar.gz.*SRKD_DATA"),
        ({"network": {"type": "VGG8", "depth": 3}}, 'network: unknown option "depth"'),
        ({"data": {"mixup": 0.5}, "train": {"losses": [{"type": "focal"}]}}, "focal"),
        ({"train": {"losses": [CE, {"type": "kd"}]}}, "set network_teacher"),
        ({"data": {"held_out": 0, "scored": "held_out"}}, "scored: held_out needs held_out above 0"),
    ],
)
def test_invalid_recipes_raise(
    changes: dict[str, Any], message: str, recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SRKD_DATA", raising=False)
    with pytest.raises(SrkdError, match=message):
        train(recipe, tmp_path, **changes)


def test_scale_teacher_needs_a_fitted_temperature(recipe: dict[str, Any], tmp_path: Path) -> None:
    path = train(recipe, tmp_path, name="unscaled", data={"held_out": 0}, train={"total_iter": 1})["models"]["net"]
    changes = {"network_teacher": {"file": path}, "scale_teacher": True, "train": {"losses": [CE, {"type": "kd"}]}}
    with pytest.raises(SrkdError, match=r"no fitted temperature: train it with data.held_out above 0"):
        train(recipe, tmp_path, **changes)


def small(path: Path, cifar100: Path, folder: Path) -> plan.Study:
    """A committed study with small networks, few steps and one seed, on the synthetic images."""
    study = plan.read(path)
    assert isinstance(study.base, dict)
    tiny = {"total_iter": 2, "precision": "fp32", "warmup_iter": -1}
    study.base = merge(
        study.base,
        {
            "data": {"root": str(cifar100), "train": 32, "held_out": 8},
            "train": tiny,
            "network": {"type": "VGG8" if "iekd" in study.name else "ResNet8"},
            "batch_size": 8,
        },
    )
    study.seeds = [0]
    file = {"file": str(folder / "teacher" / "models" / "net_latest.safetensors")}
    study.base["network_teacher"] = file
    for variant in study.variants:
        for key in ("network_teacher.file", "train.total_iter"):
            variant.set.pop(key, None)
    return study


@pytest.mark.parametrize(
    ("path", "files", "methods"),
    [
        ("classification_iekd/cifar100", ["study"], {"control", "iekd"}),
        ("classification_iekd", ["weights", "study"], {"control", "kd", "fitnet", "at", "sp", "iekd"}),
        ("classification_calibration", ["temperatures", "students"], {"control", "ce", "scaled", "focal", "flsd"}),
    ],
)
def test_committed_studies_run_on_a_small_sample(
    path: str, files: list[str], methods: set[str], cifar100: Path, tmp_path: Path
) -> None:
    calibration = path == "classification_calibration"
    own = {
        "name": "teacher",
        "network": {"type": "ResNet8" if calibration else "ResNet8x4"},
        "batch_size": 8,
        "data": {"root": str(cifar100), "train": 32, "held_out": 8},
        "train": {"total_iter": 1, "warmup_iter": -1, "precision": "fp32"},
        "val": {"val_freq": 0},
    }
    folder = STUDIES / path
    base = plan.read(folder / "teachers.yml").base if calibration else recipes.read(folder / "teacher.yml")
    assert isinstance(base, dict)
    assert Run(merge(base, own), tmp_path, quiet=True).train()["finished"]
    for name in files:
        study = small(folder / f"{name}.yml", cifar100, tmp_path)
        names = [variant.name for variant in study.variants]
        trained = [v for v in study.variants if v.name in ("control", "focal", "focal_2", "iekd", "iekd_4")]
        if name in ("weights", "temperatures"):  # three settings for each method of the study
            tuned = [n.rpartition("_")[0] for n in names]
            assert all(tuned.count(method) == 3 for method in methods - {"control"})
            study.variants = trained  # the others differ in a number
        else:
            assert set(names) >= methods
        compared = Comparison(study, tmp_path / "study")
        compared.check()
        study.variants = trained
        assert len(trained) == 2 and compared.train(quiet=True)
        found = results.write(compared)
        assert not found["failed"] and {table["metric"] for table in found["scores"]} >= {"accuracy", "ece"}


def test_committed_super_resolution_recipe_runs(photos: Path, tmp_path: Path) -> None:
    data = recipes.read(STUDIES / "classification_iekd" / "super_resolution.yml")
    teacher = {
        "name": "teacher",
        "scale": 2,
        "network_g": {"type": "EDSR", "num_feat": 8, "num_block": 16},
        "datasets": {"train": {"dataroot_gt": str(photos), "gt_size": 16, "batch_size_per_gpu": 2}},
        "train": {"total_iter": 1, "precision": "fp32"},
        "logger": {"use_tb_logger": False},
    }
    weights = Run(teacher, tmp_path, quiet=True).train()["models"]["net_g"]
    own = {
        "datasets": {
            "train": {"dataroot_gt": str(photos), "gt_size": 32, "batch_size_per_gpu": 2},
            "val": {"name": "photos", "dataroot_gt": str(photos)},
        },
        "train": {"total_iter": 2, "precision": "fp32"},
        "val": {"val_freq": 0},
        "cache": {"patches": 8, "dir": str(tmp_path / "cache")},
    }
    data = {**merge(data, own), "network_g_teacher": {"file": weights}}
    assert Run(data, tmp_path, quiet=True).train()["finished"]

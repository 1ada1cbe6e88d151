"""The base class of the adapters, tested with a task of two Gaussian classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srkd.adapters.base import AdapterTask
from srkd.errors import SrkdError
from srkd.studies.plan import Study, Variant
from srkd.studies.runs import Comparison
from srkd.training.checkpoint import load_weights
from srkd.training.run import Run


class Points(AdapterTask):
    """Points in the plane, of two classes."""

    def load(self) -> int:
        random = np.random.default_rng(0)
        self.y = torch.from_numpy(random.integers(0, 2, 60))
        self.x = torch.from_numpy(random.normal(size=(60, 2)).astype(np.float32)) + 2 * self.y[:, None]
        return len(self.x)

    def build(self, spec: Any) -> nn.Module:
        return nn.Sequential(nn.Linear(2, spec["width"]), nn.ReLU(), nn.Linear(spec["width"], 2))

    def collate(self, indices: Any, random: np.random.Generator) -> dict[str, Any]:
        at = torch.from_numpy(indices)
        return {"input": self.x[at], "target": self.y[at], "index": at}

    def evaluate(self) -> Any:
        right = (self.network(self.x).argmax(1) == self.y).tolist()
        accuracy = {str(i): float(value) for i, value in enumerate(right)}
        return {"points": {"protocol": "all points", "metrics": {"accuracy": accuracy}}}


class Unscored(Points):
    """Validation fails, and scores the number of items that it is asked for."""

    def evaluate(self) -> Any:
        raise IndexError(f"item {self.limit}")


CE = {"type": "CrossEntropyLoss"}


def recipe(**changes: Any) -> dict[str, Any]:
    base = {
        "name": "points",
        "task": "test_base:Points",
        "network": {"width": 4},
        "batch_size": 16,
        "train": {"total_iter": 40, "optim": {"type": "Adam", "lr": 0.02}, "losses": [CE], "precision": "fp32"},
        "logger": {"use_tb_logger": False},
    }
    return {**base, **changes}


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "test_base", sys.modules[__name__])


def train(data: dict[str, Any], root: Any, **options: Any) -> dict[str, Any]:
    return Run(data, root, quiet=True, **options).train()


def test_it_learns_and_its_checkpoint_has_a_description(tmp_path: Any) -> None:
    result = train(recipe(), tmp_path)
    assert result["metrics"]["accuracy"] > 0.8
    _, meta = load_weights(result["models"]["net"])
    assert meta["task"] == "test_base:Points" and meta["network"] == {"width": 4}


def test_best_checkpoint_and_early_stopping_by_a_score(tmp_path: Any) -> None:
    data = recipe(val={"val_freq": 2, "best": "accuracy", "patience": 2})
    data["train"]["optim"]["lr"] = 1e-9
    result = train(data, tmp_path)
    assert (result["step"], result["finished"], result["best"]["step"]) == (6, True, 2)
    assert load_weights(result["best"]["models"]["net"])[1]["step"] == 2
    with pytest.raises(SrkdError, match=r'unknown score in val\.best "acuracy" .did you mean "accuracy"'):
        train(recipe(val={"val_freq": 2, "best": "acuracy"}), tmp_path / "typo")
    with pytest.raises(SrkdError, match=r"val\.patience: needs val\.best"):
        Run(recipe(val={"val_freq": 2, "patience": 2}), tmp_path, quiet=True).dry_run()


def test_a_resumed_run_is_bit_exact(tmp_path: Any) -> None:
    whole = train(recipe(), tmp_path / "a")
    assert not train(recipe(), tmp_path / "b", budget=0.0)["finished"]
    parts = train(recipe(), tmp_path / "b", resume=True)
    one, two = (load_weights(r["models"]["net"])[0] for r in (whole, parts))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_an_epoch_uses_each_example_once(tmp_path: Any) -> None:
    (task,) = Run(recipe(batch_size=15), tmp_path, quiet=True).set_up()
    assert task.epoch_length == 4
    for epoch in range(2):
        seen = torch.cat([task.batch(4 * epoch + k)["index"] for k in range(4)])
        assert sorted(seen.tolist()) == list(range(60))


def test_distils_from_a_network_trained_by_the_same_task(tmp_path: Any) -> None:
    teacher = train(recipe(name="teacher", network={"width": 16}), tmp_path)["models"]["net"]
    losses = [CE, {"type": "kd"}, {"type": "fitnet", "at": "1"}]
    result = train(recipe(network_teacher={"file": teacher}, train={**recipe()["train"], "losses": losses}), tmp_path)
    assert result["finished"]
    assert load_weights(result["models"]["net"])[1]["lineage"]["teacher"] == teacher


def test_a_student_starts_from_a_checkpoint(tmp_path: Any) -> None:
    first = train(recipe(), tmp_path)["models"]["net"]
    again = {**recipe(name="again", pretrain_network=first), "train": {**recipe()["train"], "total_iter": 1}}
    again["train"]["optim"] = {"type": "SGD", "lr": 1e-12}
    second = train(again, tmp_path)["models"]["net"]
    one, two = load_weights(first)[0], load_weights(second)[0]
    assert all(torch.allclose(one[key], two[key], atol=1e-8) for key in one)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {**recipe()["train"], "losses": [CE, {"type": "kd"}]}}, "kd: compares with a teacher"),
        ({"train": {**recipe()["train"], "losses": [{"type": "L1Loss"}]}}, "L1Loss"),
        ({"train": {**recipe()["train"], "losses": [CE, {"type": "fitnet", "at": "9", "target": "gt"}]}}, "fitnet"),
        ({"pretrain_network": "none.safetensors"}, "no such checkpoint"),
    ],
)
def test_mistakes_fail_the_dry_run(tmp_path: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        Run(recipe(**changes), tmp_path, quiet=True).dry_run()


def test_a_dry_run_covers_validation_and_lists_its_mistakes_with_those_of_the_losses(tmp_path: Any) -> None:
    data = recipe(task="test_base:Unscored")
    for attempt in (Run.dry_run, Run.train):
        with pytest.raises(SrkdError, match=r"^validation: IndexError: item 8 \(test_base\.py, line \d+\)$"):
            attempt(Run(data, tmp_path, quiet=True))
    assert not (tmp_path / "points").exists()
    data["train"] = {**data["train"], "losses": [CE, {"type": "L1Loss"}], "optim": {"type": "Addam"}}
    with pytest.raises(SrkdError, match=r'L1Loss: .*; validation: IndexError: .*; unknown optimiser "Addam"'):
        Run(data, tmp_path, quiet=True).dry_run()
    with pytest.raises(SrkdError, match=r'unknown score in val\.best "acuracy" .did you mean "accuracy"'):
        Run(recipe(val={"val_freq": 2, "best": "acuracy"}), tmp_path, quiet=True).dry_run()


def test_checking_validation_does_not_affect_training(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = train(recipe(), tmp_path / "checked")["models"]["net"]
    monkeypatch.setattr(Points, "check_validation", lambda task, network: None)
    unchecked = train(recipe(), tmp_path / "unchecked")["models"]["net"]
    one, two = load_weights(checked)[0], load_weights(unchecked)[0]
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_the_outputs_of_several_teachers_are_averaged(tmp_path: Any) -> None:
    files = [
        train(recipe(name=f"teacher{width}", network={"width": width}), tmp_path)["models"]["net"] for width in (8, 16)
    ]
    changes: dict[str, Any] = {"train": {**recipe()["train"], "losses": [CE, {"type": "kd"}]}}
    single = [Run(recipe(network_teacher={"file": file}, **changes), tmp_path, quiet=True).set_up() for file in files]
    teachers = [{"file": files[0]}, {"file": files[1], "weight": 3}]
    (task,) = Run(recipe(network_teacher=teachers, **changes), tmp_path, quiet=True).set_up()
    batch = task.batch(0)
    one, other = (alone.teacher(batch).output for (alone,) in single)
    torch.testing.assert_close(task.teacher(batch).output, (one + 3 * other) / 4)
    result = train(recipe(network_teacher=teachers, **changes), tmp_path)
    assert load_weights(result["models"]["net"])[1]["lineage"]["teacher"] == ", ".join(files)
    swapped = [{"file": files[1]}, {"file": files[0], "weight": 3}]
    with pytest.raises(SrkdError, match=r"recipe\.network_teacher changed"):
        train(recipe(network_teacher=swapped, **changes), tmp_path, resume=True)
    features = {"train": {**recipe()["train"], "losses": [CE, {"type": "fitnet", "at": "1"}]}}
    for given, message in (([], "the list of teachers is empty"), (teachers, "fitnet: compares features")):
        with pytest.raises(SrkdError, match=message):
            Run(recipe(network_teacher=given, **features), tmp_path, quiet=True).dry_run()


def test_a_study_compares_item_by_item(tmp_path: Any) -> None:
    teacher = train(recipe(name="teacher", network={"width": 16}), tmp_path)["models"]["net"]
    base = recipe(network_teacher={"file": teacher})
    study = Study(
        name="s",
        base=base,
        seeds=[0, 1],
        variants=[Variant(name="control", losses=[CE]), Variant(name="kd", losses=[CE, {"type": "kd"}])],
    )
    comparison = Comparison(study, tmp_path)
    comparison.check()
    assert comparison.train(quiet=True)
    result = comparison.result("kd", 1)
    assert result is not None
    assert len(result["scores"]["points"]["metrics"]["accuracy"]) == 60

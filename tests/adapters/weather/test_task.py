"""The task end to end on a synthetic table and small simulations: control and student, scores, masks, errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_weather import HEADER, summers, table, write

from srkd.adapters.weather import scores
from srkd.adapters.weather.examples import Weather
from srkd.adapters.weather.stations import examples_of
from srkd.errors import SrkdError
from srkd.studies import plan, results
from srkd.studies.runs import Comparison
from srkd.training.recipe import merge
from srkd.training.run import Run

STUDIES = Path(__file__).parents[3] / "models" / "studies"
KD = [{"type": "MSELoss"}, {"type": "simulation"}]
LORENZ = {"members": 6, "test_members": 2, "times": 2, "variables": 8, "fast": 4, "spin_up": 0.2, "lead": 0.1}
MORE = {"validation_members": 1, "states": 5}
PLANE = {
    "members": 2,
    "test_members": 1,
    "times": 2,
    "size": 32,
    "teacher_size": 16,
    "dt": 0.05,
    "spin_up": 0.5,
    "lead": 0.5,
}


def train(recipe: dict[str, Any], root: Path, **changes: Any) -> dict[str, Any]:
    return Run(merge(recipe, changes), root, quiet=True).train()


def simulated(recipe: dict[str, Any], **source: Any) -> dict[str, Any]:
    return {**recipe, "data": source, "network": {"type": "ConvNet", "width": 4, "depth": 1}, "batch_size": 4}


def test_training_learns_and_reports_scores(recipe: dict[str, Any], tmp_path: Path) -> None:
    result = train(recipe, tmp_path, train={"total_iter": 80, "losses": KD})
    metrics = result["metrics"]
    assert set(metrics) == {"rmse", "mae", "bias", "skill_persistence", "skill_climatology", "skill_model"}
    assert metrics["skill_climatology"] > 0 and metrics["mae"] <= metrics["rmse"] < 2
    errors = json.loads((tmp_path / "tiny" / "errors.json").read_text(encoding="utf-8"))["T"]
    squares = [station["rmse"] ** 2 for station in errors["stations"]]
    assert np.sqrt(np.mean(squares)) == pytest.approx(metrics["rmse"], abs=1e-4)
    rows = [json.loads(line) for line in (tmp_path / "tiny" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "val/rmse" in row] == list(range(4, 81, 4))  # after each epoch


def test_the_control_does_not_use_the_forecasts(recipe: dict[str, Any], tmp_path: Path) -> None:
    rows = summers([2013, 2014, 2015])
    for row in rows:
        row[HEADER.index("Model_T")] = row[HEADER.index("Model_RH")] = "33"
    path = str(write(tmp_path / "other.csv", rows))
    weights = []
    for root, losses in ((None, KD[:1]), (path, KD[:1]), (None, KD), (path, KD)):
        (task,) = Run(merge(recipe, {"train": {"losses": losses}}), tmp_path, quiet=True).set_up()
        if root:
            (task,) = Run(
                merge(recipe, {"train": {"losses": losses}, "data": {"table": {"root": root}}}), tmp_path, quiet=True
            ).set_up()
        batch = task.batch(0)
        ((loss, _),) = task.steps(batch, 0)
        weights.append((loss.item(), batch["input"]))
    assert all(torch.equal(weights[0][1], inputs) for _, inputs in weights)
    assert weights[0][0] == weights[1][0] and weights[2][0] != weights[3][0]


def test_other_forecasts_are_another_teacher(recipe: dict[str, Any], tmp_path: Path) -> None:
    """A run is not resumed with them, unless its losses do not use them."""
    rows = summers([2013, 2014, 2015])
    path = write(tmp_path / "same.csv", rows)
    recipe = merge(recipe, {"data": {"table": {"root": str(path)}}, "train": {"total_iter": 2}})
    for name, losses in (("control", KD[:1]), ("distilled", KD)):
        train(recipe, tmp_path, name=name, train={"losses": losses})
    for row in rows:
        row[HEADER.index("Model_T")] = "25"
    write(path, rows)
    Run(merge(recipe, {"name": "control", "train": {"losses": KD[:1]}}), tmp_path, resume=True, quiet=True).train()
    with pytest.raises(SrkdError, match="cannot be resumed because forecasts changed"):
        Run(merge(recipe, {"name": "distilled", "train": {"losses": KD}}), tmp_path, resume=True, quiet=True).train()


def test_missing_forecasts_are_masked_and_the_truth_still_counts(recipe: dict[str, Any], tmp_path: Path) -> None:
    rows = summers([2013, 2014, 2015])
    for row in rows:
        row[HEADER.index("Model_T")] = "" if row[0] == "A" else row[HEADER.index("Model_T")]
    root = {"table": {"root": str(write(tmp_path / "holes.csv", rows))}}
    result = train(recipe, tmp_path, data=root, train={"losses": KD})
    assert np.isfinite(list(result["metrics"].values())).all()
    (task,) = Run(merge(recipe, {"data": root, "train": {"losses": KD}}), tmp_path, quiet=True).set_up()
    batch = task.batch(0)
    assert 0 < batch["mask"].sum() < len(batch["mask"]) and batch["target"].isfinite().all()
    prediction = task.teacher(batch).output
    assert torch.equal(prediction[~batch["mask"]], batch["target"][~batch["mask"]])


def test_bias_correction_uses_the_training_examples(recipe: dict[str, Any], tmp_path: Path) -> None:
    (task,) = Run(
        merge(recipe, {"data": {"table": {"correct_bias": True}, "share": 0.5}, "train": {"losses": KD}}),
        tmp_path,
        quiet=True,
    ).set_up()
    every = np.arange(task.examples)
    batch = task.collate(every, np.random.default_rng(0))
    assert (task.teacher(batch).output - batch["target"]).mean().abs() < 1e-4
    known = task.train_examples
    assert (known.simulated - known.target).mean() > 0.2


@pytest.mark.parametrize("teacher", ["cached", "live"])
@pytest.mark.parametrize("source", ["lorenz96", "barotropic"])
def test_students_of_simulations_train(source: str, teacher: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    section = {**(LORENZ if source == "lorenz96" else PLANE), "teacher": teacher}
    result = train(simulated(recipe, **{source: section}), tmp_path, train={"total_iter": 3, "losses": KD})
    assert {"rmse", "skill_model", "skill_persistence"} <= set(result["metrics"])
    errors = json.loads((tmp_path / "tiny" / "errors.json").read_text(encoding="utf-8"))
    (found,) = errors.values()
    assert np.shape(found["truth"]) == np.shape(found["student"]) == ((8,) if source == "lorenz96" else (16, 16))


@pytest.mark.parametrize("source", ["lorenz96", "table"])
def test_states_that_only_the_teacher_labels(source: str, recipe: dict[str, Any], tmp_path: Path) -> None:
    if source == "lorenz96":
        recipe = simulated(recipe, lorenz96={**LORENZ, **MORE}, states_per_step=3)
    else:
        recipe = merge(recipe, {"data": {"share": 0.4, "states_per_step": 3}, "batch_size": 4})
    (task,) = Run(merge(recipe, {"train": {"losses": KD}}), tmp_path, quiet=True).set_up()
    batch = task.batch(0)
    count = len(batch["input"]) - 3
    assert batch["known"][:count].all() and not batch["known"][count:].any() and count == 4
    assert torch.equal(
        task.teacher(batch).output[count:],
        batch["target"][count:]
        if source == "lorenz96"
        else task.states.simulated[batch["index"][count:] - len(task.train_examples)],
    )
    assert len(batch["index"].unique()) >= count + 1 and batch["index"][count:].min() >= len(task.train_examples)
    # Losses to the truth do not see them.
    losses = {}
    for states in (0, 3):
        changed = merge(recipe, {"data": {"states_per_step": states}, "train": {"losses": KD[:1]}})
        (task,) = Run(changed, tmp_path, quiet=True).set_up()
        ((losses[states], _),) = task.steps(task.batch(0), 0)
    assert losses[0].item() == pytest.approx(losses[3].item(), rel=1e-5)


def test_a_loss_that_would_see_the_truth_of_unlabelled_rows_is_rejected(recipe: dict[str, Any], tmp_path: Path) -> None:
    losses = [{"type": "output", "norm": "l2", "target": "gt"}]
    changed = merge(recipe, {"data": {"share": 0.4}, "batch_size": 4, "train": {"losses": losses}})
    Run(changed, tmp_path, quiet=True).dry_run()
    with pytest.raises(SrkdError, match=r"output: compares with the ground truth, which some .* L1Loss, MSELoss"):
        Run(merge(changed, {"data": {"states_per_step": 3}}), tmp_path, quiet=True).dry_run()


def test_validation_examples_are_scored_apart(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe = simulated(recipe, lorenz96={**LORENZ, **MORE})
    metrics = train(recipe, tmp_path, train={"total_iter": 2, "losses": KD[:1]})["metrics"]
    assert {"X/rmse", "validation X/rmse"} <= set(metrics) and "validation X/mae" not in metrics
    assert metrics["X/rmse"] != metrics["validation X/rmse"]


def test_scores_by_hand(tmp_path: Path) -> None:
    weather: Weather = examples_of(write(tmp_path / "t.csv", summers([2013, 2014, 2015])), table())
    truth = weather.test.target[:, 0].double()
    forecast = weather.test.target + torch.tensor([1.0, -2.0, 4.0])[weather.test.place][:, None]
    found = scores.scores(forecast, weather, 0)
    assert (found["rmse"], found["mae"], found["bias"]) == pytest.approx((np.sqrt(7), 7 / 3, 1), rel=1e-5)
    persistence = (weather.test.inputs[:, 0].double() - truth).square().mean()
    assert found["skill_persistence"] == pytest.approx(1 - 7 / persistence.item(), rel=1e-5)
    error = forecast[:, 0] - weather.test.target[:, 0]
    assert weather.test.place is not None
    assert scores.by_station(error, weather.test.place, 4) == [pytest.approx(v, rel=1e-5) for v in (1, 2, 4)] + [None]


def test_skill_ignores_missing_reference_forecasts() -> None:
    error, reference = torch.tensor([1.0, 100.0]), torch.tensor([2.0, float("nan")])
    assert scores.skill(error, reference) == 0.75
    assert scores.skill(torch.zeros(2), torch.zeros(2)) == 0 and scores.skill(torch.ones(2), torch.zeros(2)) == -np.inf


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": {"type": "ConvNet"}}, "ConvNet does not fit this data: stations need an MLP"),
        ({"network": {"type": "Transformer"}}, 'unknown network "Transformer"'),
        ({"network": {"type": "MLP", "widht": 4}}, 'unknown option "widht".*width'),
        ({"network": {"type": "MLP", "depth": 0}}, r"network.depth must be an integer >= 1, got 0"),
        ({"network_teacher": {"file": "x"}, "train": {"losses": KD}}, "the teacher of this task is the simulation"),
        ({"train": {"losses": [{"type": "fitnet", "at": "body.0"}]}}, "a simulation has no layers: body.0"),
        ({"data": {"lorenz96": {}}}, "set exactly one of table, lorenz96 and barotropic"),
        ({"data": {"table": {"root": "nowhere.csv"}}}, "nowhere.csv: no such file.*UCI.*SRKD_DATA"),
        ({"data": {"table": {"test": [2014]}}}, "to avoid leakage"),
        ({"data": {"share": 0}}, "share"),
        ({"data": {"states_per_step": 4}}, "states_per_step: there are none; set states of the simulation, or share"),
        ({"data": {"table": {"validation": [2014]}}}, r"train \[2013, 2014\] must be before validation \[2014\]"),
    ],
)
def test_invalid_recipes_raise(
    changes: dict[str, Any], message: str, recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SRKD_DATA", raising=False)
    if "network" in changes:
        recipe.pop("network")
    with pytest.raises(SrkdError, match=message):
        train(recipe, tmp_path, **changes)


@pytest.mark.parametrize("name", ["lorenz96", "lorenz96_perfect", "barotropic", "barotropic_perfect"])
def test_committed_studies_of_simulations_run_on_a_small_sample(name: str, tmp_path: Path) -> None:
    study = plan.read(STUDIES / "weather_fields" / f"{name}.yml")
    assert isinstance(study.base, dict)
    source = name.partition("_")[0]
    small = {**(LORENZ if source == "lorenz96" else PLANE), **MORE}
    if "perfect" in name:
        small = {key: value for key, value in small.items() if key not in ("fast", "size", "dt")}
        small |= {"size": 16, "teacher_size": 16} if source == "barotropic" else {}
    changes = {"data": {source: small}, "batch_size": 4, "train": {"total_iter": 2}, "val": {"val_freq": 1}}
    study.base = merge(study.base, changes)
    study.variants = [variant for variant in study.variants if variant.name in ("control", "simulation", "states")]
    study.seeds = [0]
    compared = Comparison(study, tmp_path)
    compared.check()
    assert compared.train(quiet=True)
    found = results.write(compared)
    assert not found["failed"] and {t["metric"] for t in found["scores"]} >= {"rmse", "mae", "bias"}


@pytest.mark.parametrize("name", ["all", "tenth", "perfect", "model_seen"])
def test_committed_studies_of_ldaps_are_valid(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRKD_DATA", str(data))
    compared = Comparison(plan.read(STUDIES / "weather_ldaps" / f"{name}.yml"))
    compared.check()
    for variant in compared.study.variants:
        inputs = plan.recipe_of(compared.study, variant, 0)["data"]["table"]["inputs"]
        assert any(column.startswith("LDAPS") for column in inputs) == (name == "model_seen")

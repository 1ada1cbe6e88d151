"""The best checkpoint by a validation score, and early stopping."""

from pathlib import Path
from typing import Any

import pytest
import torch

from srkd.errors import SrkdError
from srkd.sr.validation import Validator
from srkd.training.best import Best
from srkd.training.checkpoint import load_weights
from srkd.training.log import read_metrics
from srkd.training.recipe import override
from srkd.training.run import Run


def test_best_tracks_higher_or_lower_scores_and_ignores_nan() -> None:
    best = Best("psnr", patience=2)
    seen = [best.update(step, {"psnr": value}) for step, value in enumerate([float("nan"), 1.0, 1.0, 3.0, 2.0, 2.5])]
    assert seen == [False, True, False, True, False, False]
    assert (best.value, best.step, best.exhausted) == (3.0, 3, True)
    assert not best.update(9, {"ssim": 9.0}) and best.since == 2
    low = Best("niqe", higher=False)
    assert [low.update(step, {"niqe": value}) for step, value in enumerate([3.0, 4.0, 2.0])] == [True, False, True]
    assert not low.exhausted


@pytest.fixture
def scored(recipe: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe that validates after each of its 8 steps, of which the fourth is the best."""
    recipe["train"] |= {"total_iter": 8, "ema_decay": 0.5}
    recipe["val"] = {"val_freq": 1}
    values = {1: 20.0, 2: 22.0, 3: 21.0, 4: 25.0, 5: 24.0, 6: 23.0, 7: 24.5, 8: 24.9}

    def score(self: Validator, network: object, step: int, folder: Path) -> dict[str, float]:
        return {"psnr_photos": values[step], "ssim_photos": -values[step]}

    monkeypatch.setattr(Validator, "score", score)
    return recipe


def state(result: dict[str, Any], label: str) -> dict[str, torch.Tensor]:
    return load_weights(Path(result["models"]["net_g"].replace("latest", label)))[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_best_weights_are_saved(scored: dict[str, Any], tmp_path: Path) -> None:
    scored["logger"]["save_checkpoint_freq"] = 4
    result = Run(scored, tmp_path, quiet=True).train()
    assert result["best"]["step"] == 4 and (result["best"]["score"], result["best"]["value"]) == ("psnr_photos", 25.0)
    assert same(state(result, "best"), state(result, "4")) and not same(state(result, "best"), state(result, "latest"))
    _, meta = load_weights(Path(result["best"]["models"]["net_g"]))
    assert meta["step"] == 4 and meta["metrics"]["psnr_photos"] == 25.0 and meta["scale"] == 2
    again = Run(scored, tmp_path, resume=True, quiet=True).train()
    assert again == result


def test_recipe_selects_the_score_and_its_direction(scored: dict[str, Any], tmp_path: Path) -> None:
    result = Run(override(scored, ["val.best=ssim_photos"]), tmp_path, quiet=True).train()
    assert result["best"]["step"] == 1
    metrics = "val.metrics={psnr: {type: calculate_psnr, better: lower}}"
    assert Run(override(scored, [metrics]), tmp_path, quiet=True).train()["best"]["step"] == 1


def test_early_stopping_and_resuming_after_it(scored: dict[str, Any], tmp_path: Path) -> None:
    scored["val"]["patience"] = 3
    result = Run(scored, tmp_path, quiet=True).train()
    assert (result["step"], result["finished"], result["best"]["step"]) == (7, True, 4)
    steps = [r["step"] for r in read_metrics(tmp_path / "tiny" / "metrics.jsonl") if "val/psnr_photos" in r]
    assert steps == [1, 2, 3, 4, 5, 6, 7]
    assert Run(scored, tmp_path, resume=True, quiet=True).train() == result
    # In slices it stops at the same step.
    sliced = {"finished": False}
    while not sliced["finished"]:
        sliced = Run(scored | {"name": "cut"}, tmp_path, resume=True, budget=0, quiet=True).train()
    assert sliced["step"] == 7 and same(state(sliced, "latest"), state(result, "latest"))
    assert same(state(sliced, "best"), state(result, "best"))
    # With more patience training continues.
    more = Run(override(scored, ["val.patience=5"]), tmp_path, resume=True, quiet=True).train()
    assert (more["step"], more["best"]["step"]) == (8, 4)


@pytest.mark.parametrize("removed", [False, True])
def test_the_best_validation_is_one_whose_networks_were_kept(
    scored: dict[str, Any], tmp_path: Path, removed: bool
) -> None:
    scored["train"]["scheduler"] = {"type": "constant"}
    short = override(scored, ["train.total_iter=4"])
    kept = Path(Run(short, tmp_path, quiet=True).train()["best"]["models"]["net_g"])
    if removed:
        kept.unlink()
    changed = ["val.best=ssim_photos"]  # by which the first validation is the best
    again = Run(override(short, changed), tmp_path, resume=True, quiet=True).train().get("best")
    assert again is None if removed else (again["step"], again["value"]) == (4, -25.0)
    more = Run(override(scored, [*changed, "train.total_iter=7"]), tmp_path, resume=True, quiet=True).train()["best"]
    assert (more["step"], more["value"]) == (6, -23.0) and load_weights(kept)[1]["step"] == 6


def test_a_single_validation_saves_no_best_weights(recipe: dict[str, Any], tmp_path: Path) -> None:
    result = Run(recipe, tmp_path, quiet=True).train()
    assert "best" not in result and not list((tmp_path / "tiny" / "models").glob("*best*"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["val={val_freq: 1, best: psnr_photo}"], 'unknown score in val.best "psnr_photo" .did you mean "psnr_photos"'),
        (["val={patience: 2}"], "val.patience: needs val.val_freq"),
        (["val={val_freq: 1, patience: 2, metrics: {}}"], r"val\.patience: needs .* a validation set with metrics"),
    ],
)
def test_mistakes_fail_the_dry_run(recipe: dict[str, Any], tmp_path: Path, settings: list[str], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        Run(override(recipe, settings), tmp_path, quiet=True).dry_run()

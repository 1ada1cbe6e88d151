from pathlib import Path
from typing import Any

import pytest

from srkd import losses
from srkd.benchmarks import training
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from support import textured


def test_the_training_loop_is_timed(recipe: dict[str, Any]) -> None:
    recipe["train"]["total_iter"] = 10**6
    assert training.steps_per_second(training._set_up(recipe), seconds=0.2) > 1
    recipe["train"]["total_iter"] = 2
    with pytest.raises(SrkdError, match="ended before its time"):
        training.steps_per_second(training._set_up(recipe), seconds=5)


def test_all_sr_losses_are_measured_and_others_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(2):
        write_image(tmp_path / f"p{number}.png", ImageData(textured(number, 100, 110)))
    monkeypatch.setattr(training, "TEACHER", {**training.TEACHER, "num_feat": 4})
    monkeypatch.setattr(losses, "names", lambda: ["fsp", "kd", "masked_kl", "output", "simulation"])
    result = training.loss_costs(tmp_path, seconds=0.05)
    assert sorted(row["loss"] for row in result["rows"]) == ["fsp", "output"]
    assert result["supervised_ms"] > 0 and set(result["left_out"]) == {"kd", "masked_kl", "simulation"}
    assert "mask" in result["left_out"]["simulation"]

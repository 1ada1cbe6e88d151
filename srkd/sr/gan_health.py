"""Health of GAN training: measurements, and warnings about collapse and divergence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from torch import Tensor

_PATIENCE = 5
_SATURATED, _AT_CHANCE = 0.98, 0.55  # accuracies from which on, and up to which, a discriminator teaches little


def measure(output: Tensor, hr: Tensor) -> dict[str, Tensor]:
    """Statistics of the generator's images and the real ones, both (N, 3, H, W) in [0, 1].

    `health/spread` is the ratio of their standard deviations, `health/error` the mean absolute difference.
    """
    output, hr = output.detach().float(), hr.float()
    return {"health/spread": output.std() / hr.std().clamp_min(1e-6), "health/error": (output - hr).abs().mean()}


def discriminators_health(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each discriminator of a run's log, its `network` and mean `accuracy` in the second half of the records.

    `problem` is "saturated" from 98 %, "at chance" up to 55 %, and absent between: a saturated discriminator classifies
    all of its generator's images correctly, so it compares nothing with its peers; one at chance has learnt nothing.
    """
    rows: list[dict[str, Any]] = []
    for key in dict.fromkeys(key for record in records for key in record if key.startswith("accuracy")):
        values = [record[key] for record in records if key in record]
        accuracy = fmean(values[len(values) // 2 :])
        problem = "saturated" if accuracy >= _SATURATED else "at chance" if accuracy <= _AT_CHANCE else None
        row = {"network": f"net_d{key.removeprefix('accuracy')}", "accuracy": round(accuracy, 4)}
        rows.append(row if problem is None else {**row, "problem": problem})
    return rows


class HealthMonitor:
    """Warns if a pair of generator and discriminator has collapsed or is diverging.

    A warning needs the same problem in five consecutive checks.

    Args:
        name: the pair's name in the message.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._counts: dict[str, int] = {}
        self._last_step = 0

    def check(self, values: Mapping[str, float], step: int) -> list[str]:
        """Warnings about problems that persist, each returned once while it lasts.

        Of several checks in a step, as of accumulated batches, the first counts.

        Args:
            values: `p_real`, `p_fake` (the discriminator's mean probability that real and generated images are real),
                `health/spread` and `health/error`.
            step: steps done.
        """
        warnings: list[str] = []
        if step == self._last_step:
            return warnings
        self._last_step = step
        for text, present in self._problems(values).items():
            self._counts[text] = self._counts.get(text, 0) + 1 if present else 0
            if self._counts[text] == _PATIENCE:
                warnings.append(f"step {step}: {self.name} {text}")
        return warnings

    @staticmethod
    def _problems(values: Mapping[str, float]) -> dict[str, bool]:
        return {
            "has collapsed: the discriminator classifies every image correctly, so the generator learns little; lower "
            "train.optim_d.lr or gan_opt.loss_weight": values["p_real"] > 0.99 and values["p_fake"] < 0.01,
            "has collapsed: the discriminator rates fakes as more real than real images; raise train.optim_d.lr": (
                values["p_fake"] > values["p_real"] + 0.2
            ),
            "has collapsed: the generator's images are almost a single colour": values["health/spread"] < 0.1,
            "is diverging: the generator's images are further from the real ones than plain grey; lower "
            "train.optim_g.lr": values["health/error"] > 0.5,
        }

"""Health of GAN training: measurements, and warnings about collapse and divergence."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_PATIENCE = 5


def measure(output: Tensor, hr: Tensor) -> dict[str, Tensor]:
    """Statistics of the generator's images and the real ones, both (N, 3, H, W) in [0, 1].

    `health/spread` is the ratio of their standard deviations, `health/error` the mean absolute difference.
    """
    output, hr = output.detach().float(), hr.float()
    return {"health/spread": output.std() / hr.std().clamp_min(1e-6), "health/error": (output - hr).abs().mean()}


class HealthMonitor:
    """Warns if a pair of generator and discriminator has collapsed or is diverging.

    A warning needs the same problem in five consecutive checks.

    Args:
        name: the pair's name in the message.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._counts: dict[str, int] = {}

    def check(self, values: Mapping[str, float], step: int) -> list[str]:
        """Warnings about problems that persist, each returned once while it lasts.

        Args:
            values: `p_real`, `p_fake` (the discriminator's mean probability that real and generated images are real),
                `health/spread` and `health/error`.
            step: steps done.
        """
        warnings = []
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

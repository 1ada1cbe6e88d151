"""Whether a GAN's training is in good health: what is measured, and when it is said that something is wrong."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

_PATIENCE = 5


def measure(output: Tensor, hr: Tensor) -> dict[str, Tensor]:
    """What the generator's images look like beside the real ones, both (N, 3, H, W) in [0, 1].

    `health/spread` is the ratio of their standard deviations, `health/error` the mean absolute difference.
    """
    output, hr = output.detach().float(), hr.float()
    return {"health/spread": output.std() / hr.std().clamp_min(1e-6), "health/error": (output - hr).abs().mean()}


class Watch:
    """Says in words that a pair of generator and discriminator has collapsed or is diverging.

    It looks now and then, and speaks when it has seen the same trouble at five looks in a row.

    Args:
        name: how the pair is called in the message.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._seen: dict[str, int] = {}

    def look(self, values: Mapping[str, float], step: int) -> list[str]:
        """The troubles that have lasted since the last few looks, each said once while it lasts.

        Args:
            values: `p_real`, `p_fake` (how real the discriminator holds images to be), `health/spread` and
                `health/error`.
            step: steps done.
        """
        said = []
        for text, now in self._troubles(values).items():
            self._seen[text] = self._seen.get(text, 0) + 1 if now else 0
            if self._seen[text] == _PATIENCE:
                said.append(f"step {step}: {self.name} {text}")
        return said

    @staticmethod
    def _troubles(values: Mapping[str, float]) -> dict[str, bool]:
        return {
            "has collapsed: the discriminator tells every image, and the generator learns little from it; lower "
            "train.optim_d.lr or gan_opt.loss_weight": values["p_real"] > 0.99 and values["p_fake"] < 0.01,
            "has collapsed: the discriminator takes fakes for more real than real images; raise train.optim_d.lr": (
                values["p_fake"] > values["p_real"] + 0.2
            ),
            "has collapsed: the generator's images are nearly of one colour": values["health/spread"] < 0.1,
            "is diverging: the generator's images are further from the real ones than plain grey; lower "
            "train.optim_g.lr": values["health/error"] > 0.5,
        }

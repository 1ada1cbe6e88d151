"""Adversarial losses of the generator and of the discriminator, on the discriminator's logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from srkd.losses.base import Example, Loss, Maps, choice
from srkd.losses.registry import register

KINDS = ("vanilla", "lsgan", "hinge", "ragan")


class _Adversarial(Loss):
    kind: ClassVar[str] = "logits"
    reference: ClassVar[str] = "target"

    def __init__(
        self,
        gan_type: str = "vanilla",
        real_label_val: float = 1.0,
        fake_label_val: float = 0.0,
        relativistic: bool = False,
    ) -> None:
        super().__init__()
        self.gan_type = choice("gan_type", gan_type, KINDS)
        self.real, self.fake = float(real_label_val), float(fake_label_val)
        if relativistic and gan_type == "hinge":
            raise ValueError("relativistic needs gan_type vanilla or lsgan: hinge has no relativistic form here")
        self.relativistic = relativistic or gan_type == "ragan"

    def check(self, student: Tensor, teacher: Tensor | None) -> None:
        """Fake and real images may differ in number. Raises ValueError if a relativistic loss gets no real ones."""
        if self.relativistic and teacher is None:
            raise ValueError("a relativistic loss compares with the logits of real images, which were not given")

    def _distance(self, logits: Tensor, label: float) -> Tensor:
        """Distance of logits from `label`: squared error for LSGAN, cross-entropy otherwise."""
        target = torch.full_like(logits, label)
        return (F.mse_loss if self.gan_type == "lsgan" else F.binary_cross_entropy_with_logits)(logits, target)


@register("GANLoss")
class GANLoss(_Adversarial):
    """The generator's loss. f, r are the logits of fake and real images, y their labels (real 1, fake 0).

    `vanilla`: BCE(f, y_real), the non-saturating form; `lsgan`: mean (f - y_real)^2; `hinge`: -mean f; `ragan`, the
    relativistic average: (BCE(r - mean f, y_fake) + BCE(f - mean r, y_real)) / 2. `relativistic` turns
    `vanilla` into that, and `lsgan` into the same with squares: BasicSR's ESRGANModel. Only relativistic kinds use r.

    Shapes: logits (N, 1) or any, of fake images as `student`, of real images as `teacher`. Default weight: SR 5e-3
    alongside VGG's content loss (BasicSR; 1e-3 in SRGAN), classification none. Cost: none beyond the discriminator's
    pass.
    Source: Goodfellow et al., NeurIPS 2014; Mao et al., LSGAN, ICCV 2017; Lim & Ye, "Geometric GAN", 2017;
    Jolicoeur-Martineau, "The relativistic discriminator", ICLR 2019.
    """

    def forward(
        self, student: Tensor, teacher: Tensor | None = None, target: Tensor | None = None, **context: Any
    ) -> Tensor:
        if self.gan_type == "hinge":
            return -student.mean()
        if not self.relativistic:
            return self._distance(student, self.real)
        assert teacher is not None
        real_part = self._distance(teacher - student.mean(), self.fake)
        return (real_part + self._distance(student - teacher.mean(), self.real)) / 2

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example(
            torch.randn(6, 1, generator=rng), torch.randn(6, 1, generator=rng), None, {}, {"gan_type": "ragan"}
        )


@register("GANLossD")
class GANLossD(_Adversarial):
    """The discriminator's loss. r, f are its logits of real and fake images, y their labels (real 1, fake 0).

    `vanilla`: BCE(r, y_real) + BCE(f, y_fake); `lsgan`: mean (r - y_real)^2 + mean (f - y_fake)^2; `hinge`:
    mean max(0, 1 - r) + mean max(0, 1 + f); `ragan`: (BCE(r - mean f, y_real) + BCE(f - mean r, y_fake)) / 2.
    `relativistic` turns `vanilla` into that and `lsgan` into the same with squares, with detached means: BasicSR's
    ESRGANModel, which back-propagates the two terms one after the other.

    Shapes: a list [real, fake] of logits (N, 1) or any as `student`; `teacher` is not used. Default weight: SR 1.0,
    classification none. Cost: none beyond the discriminator's two passes.
    Source: as `GANLoss`: Goodfellow 2014; Mao 2017; Lim & Ye 2017; Jolicoeur-Martineau 2019.
    """

    layers: ClassVar[str] = "list"

    def prepare(self, student: Maps, teacher: Maps | None = None, **context: Any) -> None:
        super().prepare(student, student, **context)

    def check_layers(self, student: Sequence[Tensor], teacher: Sequence[Tensor] | None) -> None:
        if len(student) != 2:
            raise ValueError(f"needs the logits of real and of fake images, got a list of {len(student)}")

    def forward(
        self, student: Sequence[Tensor], teacher: Any = None, target: Tensor | None = None, **context: Any
    ) -> Tensor:
        real, fake = student
        if self.gan_type == "hinge":
            return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
        if self.relativistic:
            means = real.mean(), fake.mean()
            mean_real, mean_fake = means if self.gan_type == "ragan" else (mean.detach() for mean in means)
            return (self._distance(real - mean_fake, self.real) + self._distance(fake - mean_real, self.fake)) / 2
        return self._distance(real, self.real) + self._distance(fake, self.fake)

    @torch.no_grad()
    def real_scores(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's mean score of real and of fake images, from 0 (fake) to 1 (real).

        Probabilities for `vanilla`, relative to the other side's mean if the loss is relativistic; LSGAN's score, and
        hinge's with its margin from -1 to 1 mapped to 0 to 1, are clamped.
        """
        real, fake = real.float(), fake.float()
        if self.relativistic:
            real, fake = real - fake.mean(), fake - real.mean()
        if self.gan_type in ("vanilla", "ragan"):
            real, fake = real.sigmoid(), fake.sigmoid()
        elif self.gan_type == "hinge":
            real, fake = (real + 1) / 2, (fake + 1) / 2
        return real.clamp(0, 1).mean(), fake.clamp(0, 1).mean()

    @torch.no_grad()
    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """The share of real and of fake images that the discriminator classifies correctly, each side counted half."""
        real, fake = real.float(), fake.float()
        if self.relativistic:
            real, fake = real - fake.mean(), fake - real.mean()
        boundary = (self.real + self.fake) / 2 if self.gan_type == "lsgan" else 0.0
        return ((real > boundary).float().mean() + (fake < boundary).float().mean()) / 2

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        return Example([torch.randn(6, 1, generator=rng), torch.randn(6, 1, generator=rng)], None)

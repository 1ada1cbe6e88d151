"""Factor transfer: the teacher's maps paraphrased into fewer channels, which the student translates its own into."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import as_maps, like, match_layout, match_size
from srkd.losses.base import Loss, exact, positive, unprepared
from srkd.losses.numeric import in_memory_order, unit
from srkd.losses.registry import register


def _convolutions(*channels: int, **where: Any) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(channels):
        layers += [nn.Conv2d(a, b, 3, padding=1, **where), nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*layers)


class Paraphraser(nn.Module):
    """An autoencoder of the teacher's maps: three convolutions to `rate` C channels (the factors), three back."""

    def __init__(self, channels: int, rate: float, **where: Any) -> None:
        super().__init__()
        factors = max(1, round(rate * channels))
        self.encoder = _convolutions(channels, factors, factors, factors, **where)
        # No activation at the end: SR features are signed.
        self.decoder = _convolutions(factors, factors, factors, channels, **where)[:-1]


class _Factors(Loss):
    shapes: ClassVar[str] = "maps"
    keeps_autocast: ClassVar[bool] = True

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = positive("rate", rate)
        self.paraphraser: Paraphraser | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        self.paraphraser = Paraphraser(teacher.shape[1], self.rate, **like(teacher))


@register("paraphrase")
class Paraphrase(_Factors):
    """mean (decoder(encoder(t)) - t)^2: trains the paraphraser of `factor_transfer`, in a stage before it.

    The student is not touched (`trains_student` is False): its tap may be any layer. The learned submodule is called
    `paraphraser` here and in `factor_transfer`, with the same parameters for the same `rate`, so that a stage carries
    it over by name: `transfer.paraphraser.load_state_dict(paraphrase.paraphraser.state_dict())`.

    Shapes: maps (N, C, H, W), any range. Default weight: SR 1.0, classification 1.0. Cost: 18 (C k + 2 k^2)
    multiply-adds a position with k = rate C, forward and backward; runs in the autocast precision around it.
    Source: Kim et al., "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS 2018
    (arXiv:1802.04977); batch normalisation left out, as SR networks do.
    """

    trains_student: ClassVar[bool] = False

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.paraphraser is None:
            raise unprepared(self, "paraphraser")
        maps = as_maps(teacher)
        return F.mse_loss(exact(self.paraphraser.decoder(self.paraphraser.encoder(maps))), maps)


@register("factor_transfer")
class FactorTransfer(_Factors):
    """mean |n(translator(s)) - n(paraphraser(t))|, both flattened and L2-normalised for each sample.

    The translator, three convolutions, learns with the student. The paraphraser is frozen: it comes from a stage with
    the loss `paraphrase` and is carried over by its name; without such a stage it is a random projection.

    Shapes: maps (N, C, H, W) of any channels, any range; maps of different size are average-pooled to the smaller.
    Default weight: SR 1000 (the factors of a sample have unit length, so one of D elements is about 1 / sqrt(D));
    classification 200.
    Cost: 9 (C_t k + 2 k^2) multiply-adds a position forward for the paraphraser, 9 (C_s^2 + C_s k + k^2) forward
    and backward for the translator, k = rate C_t; runs in the autocast precision around it; memory a few maps.
    Source: Kim et al., "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS 2018
    (arXiv:1802.04977); batch normalisation left out, as SR networks do.
    """

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__(rate)
        self.translator: nn.Module | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        super().fit(student, teacher, **context)
        assert self.paraphraser is not None
        self.paraphraser.requires_grad_(False)
        factors = max(1, round(self.rate * teacher.shape[1]))
        self.translator = _convolutions(student.shape[1], student.shape[1], factors, factors, **like(student))

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.paraphraser is None or self.translator is None:
            raise unprepared(self, "translator and paraphraser")
        student, teacher = match_size(as_maps(student), as_maps(teacher))
        ours = exact(self.translator(student))
        theirs = match_layout(ours, exact(self.paraphraser.encoder(match_layout(student, teacher))))
        return F.l1_loss(unit(in_memory_order(ours), 1), unit(in_memory_order(theirs), 1))

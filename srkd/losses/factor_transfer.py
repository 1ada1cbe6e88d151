"""Factor transfer: the student's maps are translated into factors that a paraphraser extracts from the teacher's."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from srkd.losses.align import as_maps, factory_kwargs, match_layout, match_size
from srkd.losses.base import Loss, full_precision, positive, unprepared
from srkd.losses.numeric import in_memory_order, l2_normalise
from srkd.losses.registry import register


def _convolutions(*channels: int, **factory: Any) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in pairwise(channels):
        layers += [nn.Conv2d(a, b, 3, padding=1, **factory), nn.LeakyReLU(0.1, inplace=True)]
    return nn.Sequential(*layers)


class Paraphraser(nn.Module):
    """An autoencoder of the teacher's maps: three convolutions to `rate` C channels (the factors), three back to C."""

    def __init__(self, channels: int, rate: float, **factory: Any) -> None:
        super().__init__()
        factors = max(1, round(rate * channels))
        self.encoder = _convolutions(channels, factors, factors, factors, **factory)
        # No activation at the end: SR features are signed.
        self.decoder = _convolutions(factors, factors, factors, channels, **factory)[:-1]


class _Factors(Loss):
    shapes: ClassVar[str] = "maps"
    keeps_autocast: ClassVar[bool] = True

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__()
        self.rate = positive("rate", rate)
        self.paraphraser: Paraphraser | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        self.paraphraser = Paraphraser(teacher.shape[1], self.rate, **factory_kwargs(teacher))


@register("paraphrase")
class Paraphrase(_Factors):
    """mean (decoder(encoder(t)) - t)^2: trains the paraphraser of `factor_transfer`, in an earlier stage.

    The student is not trained (`trains_student` is False): its tap may be any layer. The learned submodule is called
    `paraphraser` here and in `factor_transfer`, with the same parameters for the same `rate`, so that the next stage
    loads it by name: `transfer.paraphraser.load_state_dict(paraphrase.paraphraser.state_dict())`.

    Shapes: maps (N, C, H, W), any range. Default weight: SR 1.0, classification 1.0. Cost: 18 (C k + 2 k^2)
    multiply-adds per position with k = rate C, forward and backward; runs under the caller's autocast.
    Source: Kim et al., "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS 2018
    (arXiv:1802.04977); without batch normalisation, as in SR networks.
    """

    trains_student: ClassVar[bool] = False

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.paraphraser is None:
            raise unprepared(self, "paraphraser")
        maps = as_maps(teacher)
        return F.mse_loss(full_precision(self.paraphraser.decoder(self.paraphraser.encoder(maps))), maps)


@register("factor_transfer")
class FactorTransfer(_Factors):
    """mean |n(translator(s)) - n(paraphraser(t))|, both flattened and L2-normalised per sample.

    The translator, three convolutions, is trained with the student. The paraphraser is frozen: it is loaded by name
    from a stage with the loss `paraphrase`; without such a stage it is a random projection.

    Shapes: maps (N, C, H, W) of any channels, any range; maps of different size are average-pooled to the smaller.
    Default weight: SR 1000 (the factors of a sample have unit length, so one of D elements is about 1 / sqrt(D));
    classification 200.
    Cost: 9 (C_t k + 2 k^2) multiply-adds per position forward for the paraphraser, 9 (C_s^2 + C_s k + k^2) forward
    and backward for the translator, k = rate C_t; runs under the caller's autocast; memory a few maps.
    Source: Kim et al., "Paraphrasing Complex Network: Network Compression via Factor Transfer", NeurIPS 2018
    (arXiv:1802.04977); without batch normalisation, as in SR networks.
    """

    def __init__(self, rate: float = 0.5) -> None:
        super().__init__(rate)
        self.translator: nn.Module | None = None

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        super().fit(student, teacher, **context)
        assert self.paraphraser is not None
        self.paraphraser.requires_grad_(False)
        factors = max(1, round(self.rate * teacher.shape[1]))
        self.translator = _convolutions(student.shape[1], student.shape[1], factors, factors, **factory_kwargs(student))

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.paraphraser is None or self.translator is None:
            raise unprepared(self, "translator and paraphraser")
        student, teacher = match_size(as_maps(student), as_maps(teacher))
        ours = full_precision(self.translator(student))
        theirs = match_layout(ours, full_precision(self.paraphraser.encoder(match_layout(student, teacher))))
        return F.l1_loss(l2_normalise(in_memory_order(ours), 1), l2_normalise(in_memory_order(theirs), 1))

"""Contrastive distillation: a student's instance must find its own teacher instance among many."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.align import like
from srkd.losses.base import Example, positive, unprepared, whole
from srkd.losses.numeric import unit
from srkd.losses.registry import register
from srkd.losses.relation import Relation


@register("crd")
class ContrastiveRepresentation(Relation):
    """InfoNCE: mean of -log(exp(s_i . t_i / tau) / sum over k of exp(s_i . k / tau)), tau 0.07.

    s and t are learned linear embeddings of `dim` numbers, L2-normalised; k runs over the batch's teacher embeddings
    and a queue of the last `queue` ones. `instances: image` and `patch` average their positions first, as classifiers
    do.

    Option `bank`: the number of instances of an indexed data set (0: none) selects the paper's own form, which needs
    `index` (N) and `instances: image`: every instance's last embeddings are kept with momentum 0.5 on both sides, and
    noise-contrastive estimation tells the own one from `negatives` (16384) drawn ones (one draw for the batch), student
    against the teacher's bank and the reverse.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range. Default weight: SR 0.01 with patches or
    pixels; classification 0.8. Cost: b (b + queue) dim multiply-adds and memory dim x queue: 2 MB for 4096; with a bank
    2 dim x bank, 51 MB for 50,000 instances, and dim x negatives more for each step.
    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020 (arXiv:1910.10699).
    """

    momentum: ClassVar[float] = 0.5
    stochastic = True
    keys: Tensor
    bank_s: Tensor
    bank_t: Tensor
    constants: Tensor

    def __init__(self, dim: int = 128, tau: float = 0.07, queue: int = 4096, bank: int = 0, negatives: int = 16384,
                 instances: str = "image", patch: int = 8, samples: int = 256) -> None:  # fmt: skip
        super().__init__(instances, patch, samples)
        self.dim, self.tau, self.queue = whole("dim", dim), positive("tau", tau), whole("queue", queue)
        self.bank, self.negatives = whole("bank", bank, low=0), whole("negatives", negatives)
        if bank and instances != "image":
            raise ValueError(f"a bank holds whole instances of the data set: use instances: image, not {instances}")
        self.needs = ("index",) if bank else ()
        self.embed_s: nn.Module | None = None
        self.embed_t: nn.Module | None = None
        for part in ("bank_s", "bank_t") if bank else ("keys",):
            self.register_buffer(part, None)
        # The normalising constants of a bank's two directions, estimated at the first batch; 0 until then.
        self.register_buffer("constants", torch.zeros(2) if bank else None)

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        super().fit(student, teacher, **context)
        where = like(student)
        self.embed_s = nn.Linear(student.shape[1], self.dim, **where)
        self.embed_t = nn.Linear(teacher.shape[1], self.dim, **where)

        def random_directions(count: int) -> Tensor:
            return unit(torch.randn(count, self.dim).to(**where), 1)

        if self.bank:
            self.bank_s, self.bank_t = random_directions(self.bank), random_directions(self.bank)
        else:
            self.keys = random_directions(self.queue)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.embed_s is None or self.embed_t is None:
            raise unprepared(self, "embeddings")
        student, teacher = self.vectors(student, teacher)
        ours, theirs = unit(self.embed_s(student), 1), unit(self.embed_t(teacher), 1)
        return self._from_bank(ours, theirs, context.get("index")) if self.bank else self._from_queue(ours, theirs)

    def vectors(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        if self.instances == "image":
            return tuple(m.flatten(2).mean(2) if m.ndim == 4 else m for m in (student, teacher))  # type: ignore
        ours, theirs = super().vectors(student, teacher)
        if self.instances == "patch":
            positions = self.patch**2
            ours, theirs = (v.unflatten(1, (positions, -1)).mean(1) for v in (ours, theirs))
        return ours, theirs

    def _from_queue(self, ours: Tensor, theirs: Tensor) -> Tensor:
        keys = torch.cat((theirs, self.keys))
        own = torch.arange(len(ours), device=ours.device)
        if self.training:
            self.keys = keys.detach()[: self.queue].clone()
        return F.cross_entropy(ours @ keys.T / self.tau, own)

    def _from_bank(self, ours: Tensor, theirs: Tensor, index: Tensor | None) -> Tensor:
        if index is None or index.shape != ours.shape[:1] or int(index.max()) >= self.bank:
            got = "nothing" if index is None else f"shape {tuple(index.shape)}, largest {int(index.max())}"
            raise SrkdError(f"crd: needs index ({len(ours)}) below bank = {self.bank}, got {got}")
        drawn = torch.randint(self.bank, (self.negatives,)).to(ours.device)
        value = ours.new_zeros(())
        for direction, (anchor, bank) in enumerate(((ours, self.bank_t), (theirs, self.bank_s))):
            own = (anchor * bank[index]).sum(1, keepdim=True)
            value = value + self._estimation(torch.cat((own, anchor @ bank[drawn].T), 1), direction)
        if self.training:
            for bank, fresh in ((self.bank_s, ours.detach()), (self.bank_t, theirs.detach())):
                bank[index] = unit(self.momentum * bank[index] + (1 - self.momentum) * fresh, 1)
        return value

    def _estimation(self, products: Tensor, direction: int) -> Tensor:
        """NCE of the first column against the others, whose density is taken as uniform over the data set."""
        scores = (products / self.tau).exp()
        if not self.constants[direction]:
            self.constants[direction] = scores.detach().mean() * self.bank
        density = scores / self.constants[direction].clone()
        noise = self.negatives / self.bank
        own = (density[:, 0] / (density[:, 0] + noise)).log()
        others = (noise / (density[:, 1:] + noise)).log().sum(1)
        return -(own + others).mean()

    @classmethod
    def example(cls, seed: int) -> Example:
        example = super().example(seed)
        example.options = {"dim": 16, "queue": 32}
        return example

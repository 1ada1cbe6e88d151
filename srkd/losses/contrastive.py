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
    and a queue of the last `queue` ones. Images and patches average their positions first, as classifiers do.

    Where the data are indexed it is the paper's own form instead: every instance's last embeddings are kept with
    momentum 0.5 on both sides, and noise-contrastive estimation tells the own one from `negatives` (16384) drawn ones,
    student against the teacher's bank and the reverse. `bank` is the number of instances of the data set: None takes
    the training step's (`examples`, given with `index`) where instances are whole images, 0 keeps to the queue. The
    negatives are one draw for the batch, evenly from all data: the official code draws anew for each image, which
    costs a gather of N x negatives x dim numbers a side, and for CIFAR from other classes only.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range. Default weight: SR 0.01 with patches or
    pixels; classification 0.8. Cost: b (b + queue) dim multiply-adds and memory dim x queue: 2 MB for 4096; with a bank
    2 dim x bank, 51 MB for 50,000 instances, and dim x negatives more for each step.
    Source: Tian et al., "Contrastive Representation Distillation", ICLR 2020 (arXiv:1910.10699). RepDistiller:
    crd/criterion.py, crd/memory.py; the queue is He et al.'s (MoCo, CVPR 2020), for data without an index.
    """

    uses: ClassVar[tuple[str, ...]] = ("index", "examples")
    momentum: ClassVar[float] = 0.5
    stochastic = True
    keys: Tensor
    bank_s: Tensor
    bank_t: Tensor
    constants: Tensor

    def __init__(
        self,
        dim: int = 128,
        tau: float = 0.07,
        queue: int = 4096,
        bank: int | None = None,
        negatives: int = 16384,
        instances: str = "image",
        patch: int = 8,
        samples: int = 256,
    ) -> None:
        super().__init__(instances, patch, samples)
        self.dim, self.tau, self.queue = whole("dim", dim), positive("tau", tau), whole("queue", queue)
        self.bank = None if bank is None else whole("bank", bank, low=0)
        self.negatives = whole("negatives", negatives)
        if bank and instances in ("patch", "pixel"):
            raise ValueError(f"a bank holds whole instances of the data set: use instances: image, not {instances}")
        self.needs = ("index",) if bank else ()
        self.embed_s: nn.Module | None = None
        self.embed_t: nn.Module | None = None
        for part in ("bank_s", "bank_t", "constants", "keys"):
            self.register_buffer(part, None)

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        if self.bank is None:
            indexed = self.instances in ("image", "pooled") and context.get("index") is not None
            self.bank = int(context.get("examples") or 0) if indexed else 0
        where = like(student)
        self.embed_s = nn.Linear(student.shape[1], self.dim, **where)
        self.embed_t = nn.Linear(teacher.shape[1], self.dim, **where)

        if self.bank:
            # Even, of mean square length 1, as the official code starts them.
            side = (3 / self.dim) ** 0.5
            self.bank_s, self.bank_t = (
                torch.empty(self.bank, self.dim).uniform_(-side, side).to(**where) for _ in range(2)
            )
            # The normalising constants of the two directions, estimated at the first batch; 0 until then.
            self.constants = torch.zeros(2, device=student.device)
        else:
            self.keys = unit(torch.randn(self.queue, self.dim).to(**where), 1)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.embed_s is None or self.embed_t is None:
            raise unprepared(self, "embeddings")
        student, teacher = self.pooled_vectors(student, teacher)
        ours, theirs = unit(self.embed_s(student), 1), unit(self.embed_t(teacher), 1)
        return self._from_bank(ours, theirs, context.get("index")) if self.bank else self._from_queue(ours, theirs)

    def _from_queue(self, ours: Tensor, theirs: Tensor) -> Tensor:
        keys = torch.cat((theirs, self.keys))
        own = torch.arange(len(ours), device=ours.device)
        if self.training:
            self.keys = keys.detach()[: self.queue].clone()
        return F.cross_entropy(ours @ keys.T / self.tau, own)

    def _from_bank(self, ours: Tensor, theirs: Tensor, index: Tensor | None) -> Tensor:
        assert self.bank
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
        assert self.bank
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

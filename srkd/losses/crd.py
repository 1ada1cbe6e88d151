"""Contrastive distillation: the student's embedding of an instance must match the teacher's among negatives."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.losses.align import factory_kwargs
from srkd.losses.base import Example, integer, positive, unprepared
from srkd.losses.numeric import l2_normalise
from srkd.losses.registry import register
from srkd.losses.relation import Relation


@register("crd")
class ContrastiveRepresentation(Relation):
    """InfoNCE: mean of -log(exp(s_i . t_i / tau) / sum over k of exp(s_i . k / tau)), tau 0.07.

    s and t are learned linear embeddings of size `dim`, L2-normalised; k runs over the batch's teacher embeddings and
    a queue of the last `queue` ones. Images and patches are averaged over their positions first, as in classifiers.

    For indexed data the paper's form is used instead: a memory bank per side stores every instance's embedding with
    momentum 0.5, and noise-contrastive estimation distinguishes the instance's own entry from `negatives` (16384)
    sampled ones, student against the teacher's bank and vice versa. `bank` is the number of instances in the data set:
    None takes it from the training step (`examples`, given with `index`) if instances are whole images, 0 uses the
    queue. The negatives are sampled once per batch, uniformly from all data; the official code samples them per image,
    which costs a gather of N x negatives x dim numbers per side, and for CIFAR from other classes only.

    Shapes: maps (N, C, H, W) or vectors (N, C) of any channels, any range. Default weight: SR 0.01 with patches or
    pixels; classification 0.8. Cost: b (b + queue) dim multiply-adds and memory dim x queue: 2 MB for 4096; with a bank
    2 dim x bank, 51 MB for 50,000 instances, and dim x negatives per step.
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
        self.dim, self.tau, self.queue = integer("dim", dim), positive("tau", tau), integer("queue", queue)
        self.bank = None if bank is None else integer("bank", bank, low=0)
        self.negatives = integer("negatives", negatives)
        if bank and instances in ("patch", "pixel"):
            raise ValueError(f"a bank stores whole images: use instances: image, not {instances}")
        self.needs = ("index",) if bank else ()
        self.embed_s: nn.Module | None = None
        self.embed_t: nn.Module | None = None
        for part in ("bank_s", "bank_t", "constants", "keys"):
            self.register_buffer(part, None)

    def fit(self, student: Tensor, teacher: Tensor, **context: Any) -> None:
        if self.bank is None:
            indexed = self.instances in ("image", "pooled") and context.get("index") is not None
            self.bank = int(context.get("examples") or 0) if indexed else 0
        factory = factory_kwargs(student)
        self.embed_s = nn.Linear(student.shape[1], self.dim, **factory)
        self.embed_t = nn.Linear(teacher.shape[1], self.dim, **factory)

        if self.bank:
            # Uniform with mean squared length 1, as in the official code.
            side = (3 / self.dim) ** 0.5
            self.bank_s, self.bank_t = (
                torch.empty(self.bank, self.dim).uniform_(-side, side).to(**factory) for _ in range(2)
            )
            # The normalising constants of the two directions, estimated from the first batch; 0 until then.
            self.constants = torch.zeros(2, device=student.device)
        else:
            self.keys = l2_normalise(torch.randn(self.queue, self.dim).to(**factory), 1)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        if self.embed_s is None or self.embed_t is None:
            raise unprepared(self, "embeddings")
        student, teacher = self.pooled_vectors(student, teacher)
        ours, theirs = l2_normalise(self.embed_s(student), 1), l2_normalise(self.embed_t(teacher), 1)
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
        sampled = torch.randint(self.bank, (self.negatives,)).to(ours.device)
        value = ours.new_zeros(())
        for direction, (anchor, bank) in enumerate(((ours, self.bank_t), (theirs, self.bank_s))):
            own = (anchor * bank[index]).sum(1, keepdim=True)
            value = value + self._estimation(torch.cat((own, anchor @ bank[sampled].T), 1), direction)
        if self.training:
            for bank, new in ((self.bank_s, ours.detach()), (self.bank_t, theirs.detach())):
                bank[index] = l2_normalise(self.momentum * bank[index] + (1 - self.momentum) * new, 1)
        return value

    def _estimation(self, products: Tensor, direction: int) -> Tensor:
        """NCE of the first column against the others, with a uniform noise density over the data set."""
        assert self.bank
        scores = products / self.tau
        if not self.constants[direction]:
            self.constants[direction] = scores.detach().exp().mean() * self.bank
        # The log of density / noise: at a small tau the density itself overflows as products approach 1.
        ratio = scores - (self.constants[direction] * self.negatives / self.bank).log()
        return -(F.logsigmoid(ratio[:, 0]) + F.logsigmoid(-ratio[:, 1:]).sum(1)).mean()

    @classmethod
    def example(cls, seed: int) -> Example:
        example = super().example(seed)
        example.options = {"dim": 16, "queue": 32}
        return example

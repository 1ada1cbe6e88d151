"""A numerical simulation as the teacher, weighted by its accuracy and by training progress."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from srkd.errors import SrkdError
from srkd.losses.base import Example, Loss, positive
from srkd.losses.registry import register


@register("simulation")
class Simulation(Loss):
    """mean of w (s - t)^2, w = exp(-|t - g| / tolerance) (1 - progress)^fade, over the elements where `mask` is true.

    t is the simulator's forecast and g the truth: where the simulator's error is `tolerance`, in the units of the
    quantity, the weight is 1/e. Where the truth is not known (`known` is false), it is 1, and g is not used. `progress`
    goes from 0 to 1 over training; with `fade` 0 the weight is constant, with 1 it falls linearly. Values outside the
    mask are not used: they may be NaN.

    Where the truth is known, the term adds little: with (s - g)^2 beside it, the best s is g + d / (1 + exp(|d| /
    tolerance)) for d = t - g, which is never further than 0.28 tolerance from g. The simulator's own advantage is that
    it labels states whose truth nobody knows.

    Shapes: student, teacher and target of one shape, any, normalised or in units; `mask` and `known` of that shape,
    bool, or None for all. Default weight: weather 1.0 alongside the loss to the truth; SR none. Cost: a few passes over
    the forecast.
    Source: distillation of numerical weather simulations; the weight by the teacher's error follows
    Chen et al., "Learning Efficient Object Detection Models with Knowledge Distillation", NeurIPS 2017.
    """

    kind: ClassVar[str] = "output"
    needs = ("mask", "progress")
    uses: ClassVar[tuple[str, ...]] = ("known",)
    zero_at_equal = True

    def __init__(self, tolerance: float = 1.0, fade: float = 1.0) -> None:
        super().__init__()
        self.tolerance, self.fade = positive("tolerance", tolerance), positive("fade", fade, zero=True)

    def forward(self, student: Tensor, teacher: Tensor, target: Tensor | None = None, **context: Any) -> Tensor:
        mask, progress = context.get("mask"), context.get("progress")
        if target is None or progress is None or not 0 <= progress <= 1:
            raise SrkdError(f"simulation: needs the truth as target and progress from 0 to 1, got progress {progress}")
        every = torch.ones_like(student, dtype=torch.bool)
        mask = every if mask is None else mask
        known = every if context.get("known") is None else context["known"]
        sides = {"target": target, "mask": mask, "known": known}
        if any(side.shape != student.shape for side in sides.values()):
            shapes = ", ".join(f"{name} {tuple(side.shape)}" for name, side in sides.items())
            raise SrkdError(f"simulation: needs the shape {tuple(student.shape)} of the forecasts, got {shapes}")
        trust = torch.where(known, torch.exp(-(teacher - target).abs() / self.tolerance), 1)
        squares = torch.where(mask, trust * torch.where(mask, student - teacher, 0).square(), 0)
        output: Tensor = squares.sum() / mask.sum().clamp_min(1) * (1 - progress) ** self.fade
        return output

    @classmethod
    def example(cls, seed: int) -> Example:
        rng = torch.Generator().manual_seed(seed)
        student, teacher, target = (torch.randn(4, 6, generator=rng) for _ in range(3))
        return Example(student, teacher, target, {"mask": torch.rand(4, 6, generator=rng) < 0.8, "progress": 0.25})

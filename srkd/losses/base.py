"""What every loss is: a module from (student, teacher) to a scalar that says about itself what tests may expect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Union

import torch
from torch import Tensor, nn

Maps = Union[Tensor, Sequence[Tensor]]


@dataclass
class Example:
    """Valid inputs of a loss: what `loss(student, teacher, target, **context)` takes, small enough for tests."""

    student: Maps
    teacher: Maps
    target: Tensor | None = None
    context: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


class Loss(nn.Module):
    """Base of all losses. `forward(student, teacher, target=None, **context)` returns a scalar tensor.

    Subclasses describe themselves with class attributes:

    * `kind`: what is compared: `"output"` (pictures or regression outputs), `"logits"` or `"feature"`. A term of kind
      feature must name taps; the others default to the networks' outputs.
    * `reference`: what arrives as `teacher` unless the recipe says otherwise: the teacher's answer, or the ground truth
      (`"target"`), as in a plain pixel loss.
    * `layers`: `"single"` takes one tensor a side (a recipe with several taps sums over them, a loss module each);
      `"list"` takes a list of tensors a side.
    * `needs`: names of the keywords wanted from the training step: `lr`, `hr`, `index`, `mask`, `step`, `progress`.
    * `zero_at_equal`, `stochastic`, `permutation_invariant`: invariants that the tests over the registry check.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = "feature"
    reference: ClassVar[str] = "teacher"
    layers: ClassVar[str] = "single"
    needs: ClassVar[tuple[str, ...]] = ()
    zero_at_equal: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    permutation_invariant: ClassVar[bool] = True

    def prepare(self, student: Maps, teacher: Maps, **context: Any) -> None:
        """Make learned parts from the shapes of a dry run; called once, before the optimiser is built.

        Raises:
            ValueError: the shapes cannot be compared by this loss; the message gives them.
        """

    @classmethod
    def example(cls, seed: int) -> Example:
        """Valid inputs for tests, the same for the same seed. By default two feature maps of (4, 8, 6, 6)."""
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(4, 8, 6, 6, generator=rng), torch.randn(4, 8, 6, 6, generator=rng))


def positive(name: str, value: float, *, zero: bool = False) -> float:
    """Return `value` if it is a positive number (or zero where allowed), else raise ValueError that names it."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (value >= 0 if zero else value > 0):
        raise ValueError(f"{name} must be a number {'>=' if zero else '>'} 0, got {value!r}")
    return value

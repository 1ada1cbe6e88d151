"""What every loss is: a module from (student, teacher) to a scalar that says about itself what tests may expect."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from srkd.errors import SrkdError

Maps = Tensor | Sequence[Tensor]


@dataclass
class Example:
    """Valid inputs of a loss: what `loss(student, teacher, target, **context)` takes, small enough for tests."""

    student: Maps
    teacher: Maps | None
    target: Tensor | None = None
    context: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


class Loss(nn.Module):
    """Base of all losses. Called as `loss(student, teacher, target=None, **context)` it returns a scalar tensor.

    A subclass writes `forward` as its formula and nothing else: the call has already cut the teacher off the graph,
    turned half-precision inputs into float32 and switched autocast off, so that no sum, norm or difference is taken in
    eight bits of mantissa. (Call the module, not `forward`.)

    Subclasses describe themselves with attributes; an instance may set its own where an option changes them:

    * `kind`: what is compared: `"output"` (pictures or regression outputs), `"logits"` or `"feature"`. A term of kind
      feature must name taps; the others default to the networks' outputs.
    * `reference`: what arrives as `teacher` unless the recipe says otherwise: the teacher's answer, or the ground truth
      (`"target"`), as in a plain pixel loss.
    * `layers`: `"single"` takes one tensor a side (a recipe with several taps sums over them, a loss module each);
      `"list"` takes a list of tensors a side.
    * `needs`: names of the keywords wanted from the training step: `lr`, `hr`, `index`, `mask`, `step`, `progress`.
    * `trains_student`: False for a loss that trains only its own parts (a stage before the distillation proper).
    * `keeps_autocast`: True for a loss dominated by its own convolutions, which stay in the precision around them.
    * `zero_at_equal`, `stochastic`, `permutation_invariant`: invariants that the tests over the registry check.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = "feature"
    reference: ClassVar[str] = "teacher"
    layers: ClassVar[str] = "single"
    trains_student: ClassVar[bool] = True
    keeps_autocast: ClassVar[bool] = False
    needs: tuple[str, ...] = ()
    zero_at_equal: bool = False
    stochastic: bool = False
    permutation_invariant: bool = True

    def __call__(self, student: Any, teacher: Any = None, target: Tensor | None = None, **context: Any) -> Any:
        with nullcontext() if self.keeps_autocast else _no_autocast(student):
            return super().__call__(exact(student), detached(exact(teacher)), target, **context)

    def prepare(self, student: Maps, teacher: Maps, **context: Any) -> None:
        """Check the shapes of a dry run and make learned parts from them; called once, before the optimiser is built.

        Subclasses that need the shapes write `fit`.

        Raises:
            ValueError: the shapes cannot be compared by this loss; the message gives them.
        """
        for side, maps in (("student", student), ("teacher", teacher)):
            if self.layers == "single" and not isinstance(maps, Tensor):
                raise ValueError(f"compares one layer a side, but the {side} gives a list of {_length(maps)}")
            if self.layers == "list" and (isinstance(maps, Tensor) or not isinstance(maps, Sequence)):
                raise ValueError(f"compares a list of layers a side, but the {side} gives a single tensor")
        self.fit(detached(exact(student)), detached(exact(teacher)), **context)

    def fit(self, student: Any, teacher: Any, **context: Any) -> None:
        """Make the learned parts: `student` and `teacher` are tensors, or lists of them where `layers` is `"list"`."""

    @classmethod
    def example(cls, seed: int) -> Example:
        """Valid inputs for tests, the same for the same seed. By default two feature maps of (4, 8, 6, 6)."""
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(4, 8, 6, 6, generator=rng), torch.randn(4, 8, 6, 6, generator=rng))


def exact(maps: Any) -> Any:
    """Half-precision tensors as float32; everything else, and whatever is no tensor, as it is."""
    if isinstance(maps, Tensor):
        return maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps
    return [exact(m) for m in maps] if isinstance(maps, (list, tuple)) else maps


def detached(maps: Any) -> Any:
    """Tensors cut off the graph, also inside a list."""
    if isinstance(maps, Tensor):
        return maps.detach()
    return [detached(m) for m in maps] if isinstance(maps, (list, tuple)) else maps


def positive(name: str, value: float, *, zero: bool = False) -> float:
    """Return `value` if it is a positive number (or zero where allowed), else raise ValueError that names it."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (value >= 0 if zero else value > 0):
        raise ValueError(f"{name} must be a number {'>=' if zero else '>'} 0, got {value!r}")
    return value


def whole(name: str, value: int, low: int = 1, high: int | None = None) -> int:
    """Return `value` if it is an integer from `low` to `high`, else raise ValueError that names it."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        span = f">= {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be a whole number {span}, got {value!r}")
    return value


def choice(name: str, value: str, known: Sequence[str]) -> str:
    """Return `value` if it is one of `known`, else raise ValueError that lists them."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return value


def unprepared(loss: Loss, part: str) -> SrkdError:
    """The error of a loss called before `prepare` made the part that it needs."""
    return SrkdError(f"{loss.name}: call prepare(student, teacher) first: it makes the {part} from their shapes")


def _no_autocast(maps: Any) -> torch.autocast:
    first = maps if isinstance(maps, Tensor) else maps[0]
    return torch.autocast(first.device.type, enabled=False)


def _length(maps: Any) -> int:
    return len(maps) if isinstance(maps, Sequence) else 0

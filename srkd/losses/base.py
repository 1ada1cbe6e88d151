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

    A subclass writes `forward` as its formula and nothing else: the call has already compared the shapes of both sides,
    cut the teacher off the graph, turned half-precision inputs into float32 and switched autocast off, so that no sum,
    norm or difference is taken in eight bits of mantissa. (Call the module, not `forward`.)

    Subclasses describe themselves with attributes; an instance may set its own where an option changes them:

    * `kind`: what is compared: `"output"` (images or regression outputs), `"logits"` or `"feature"`. A term of kind
      feature must name taps; the others default to the networks' outputs.
    * `reference`: what arrives as `teacher` unless the recipe says otherwise: the teacher's output, or the ground truth
      (`"target"`), as in a plain pixel loss.
    * `layers`: `"single"` takes one tensor a side (a recipe with several taps sums over them, a loss module each);
      `"list"` takes a list of tensors a side, as many on both.
    * `shapes`: what the two sides of a layer must have in common, checked in `prepare` and at every call: `"equal"`,
      the whole shape; `"maps"`, the batch of maps (N, C, H, W) or vectors (N, C), whose channels and sizes may differ;
      `"vectors"`, the N of vectors (N, D). A loss with another rule writes `check`.
    * `needs`: names of the keywords wanted from the training step: `lr`, `hr`, `index`, `mask`, `step`, `progress`.
    * `uses`: keywords that it takes where the training step has them, and does without otherwise.
    * `trains_student`: False for a loss that trains only its own parts (a stage before the distillation proper).
    * `keeps_autocast`: True for a loss dominated by its own convolutions, which stay in the precision around them.
    * `renamed`: former names of options, which `build` still takes.
    * `zero_at_equal`, `stochastic`, `permutation_invariant`: invariants that the tests over the registry check.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = "feature"
    reference: ClassVar[str] = "teacher"
    layers: ClassVar[str] = "single"
    shapes: ClassVar[str] = "equal"
    trains_student: ClassVar[bool] = True
    keeps_autocast: ClassVar[bool] = False
    needs: tuple[str, ...] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    renamed: ClassVar[dict[str, str]] = {}
    zero_at_equal: bool = False
    stochastic: bool = False
    permutation_invariant: bool = True
    _prepared_for: list[tuple[int, int]] | None = None

    def __call__(self, student: Any, teacher: Any = None, target: Tensor | None = None, **context: Any) -> Any:
        """The loss of one batch.

        Raises:
            SrkdError: sides that cannot be compared, in batch, shape or number of layers, which the message gives; or a
                keyword of `needs` that is missing.
        """
        self._check(student, teacher)
        if self._prepared_for is not None and self._prepared_for != _channels(student, teacher):
            raise SrkdError(
                f"{self.name}: its learned parts were made for other channels than {said(student, teacher)}: call "
                "prepare(student, teacher) anew"
            )
        with nullcontext() if self.keeps_autocast else _no_autocast(student):
            try:
                return super().__call__(exact(student), detached(exact(teacher)), target, **context)
            except KeyError as error:
                missing = str(error.args[0]) if error.args else ""
                if missing not in self.needs or missing in context:
                    raise
                raise SrkdError(f"{self.name}: needs the keyword {missing}: call it with {missing}=...") from error

    def prepare(self, student: Maps, teacher: Maps, **context: Any) -> None:
        """Check the shapes of a dry run and make learned parts from them; called once, before the optimiser is built.

        Subclasses that need the shapes write `fit`.

        Raises:
            SrkdError: the shapes cannot be compared by this loss; the message gives them.
        """
        self._check(student, teacher)
        try:
            self.fit(detached(exact(student)), detached(exact(teacher)), **context)
        except ValueError as error:
            raise SrkdError(f"{self.name}: {error}") from error
        if self.shapes in ("maps", "vectors") and self.state_dict():
            self._prepared_for = _channels(student, teacher)

    def fit(self, student: Any, teacher: Any, **context: Any) -> None:
        """Make the learned parts: `student` and `teacher` are tensors, or lists of them where `layers` is `"list"`."""

    def check(self, student: Any, teacher: Any) -> None:
        """Compare the shapes of the two sides of one layer; cheap, for it runs at every call.

        With `layers = "list"` it runs once for each layer.

        Raises:
            ValueError: they cannot be compared.
        """
        _RULES[self.shapes](student, teacher)

    def check_layers(self, student: Sequence[Tensor], teacher: Sequence[Tensor] | None) -> None:
        """Compare two lists of layers, by default as many a side and each by `check`. Raises ValueError."""
        if not student or teacher is None or len(student) != len(teacher):
            counts = f"{len(student)} of the student and {len(teacher or ())} of the teacher"
            raise ValueError(f"needs as many layers a side, got {counts}")
        for ours, theirs in zip(student, teacher, strict=True):
            self.check(ours, theirs)

    def _check(self, student: Any, teacher: Any) -> None:
        try:
            for side, maps in (("student", student), ("teacher", teacher)):
                if self.layers == "single" and not isinstance(maps, (Tensor, type(None))):
                    raise ValueError(f"compares one layer a side, but the {side} gives a list of {_length(maps)}")
                if self.layers == "list" and not isinstance(maps, (list, tuple, type(None))):
                    raise ValueError(f"compares a list of layers a side, but the {side} gives a single tensor")
            (self.check_layers if self.layers == "list" else self.check)(student, teacher)
        except ValueError as error:
            raise SrkdError(f"{self.name}: {error}") from error

    @classmethod
    def example(cls, seed: int) -> Example:
        """Valid inputs for tests, the same for the same seed. By default two feature maps of (4, 8, 6, 6)."""
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(4, 8, 6, 6, generator=rng), torch.randn(4, 8, 6, 6, generator=rng))


def said(student: Any, teacher: Any) -> str:
    """Both sides' shapes in words, for messages."""
    sides = (("student", student), ("teacher", teacher))
    return ", ".join(f"{side} {_shape(maps)}" for side, maps in sides)


def _shape(maps: Any) -> str:
    if isinstance(maps, Tensor):
        return str(tuple(maps.shape))
    return "nothing" if maps is None else " and ".join(map(_shape, maps))


def _channels(student: Any, teacher: Any) -> list[tuple[int, int]]:
    if isinstance(student, Tensor):
        student, teacher = [student], [teacher]
    return [(s.shape[1], t.shape[1]) for s, t in zip(student, teacher, strict=True)]


def equal_shapes(student: Tensor, teacher: Tensor | None) -> None:
    """Raise ValueError unless there is something on both sides, of one shape."""
    if teacher is None or student.shape != teacher.shape:
        raise ValueError(f"needs one shape on both sides, got {said(student, teacher)}")
    if not student.numel():
        raise ValueError(f"nothing to compare: {said(student, teacher)}")


def paired_maps(student: Tensor, teacher: Tensor | None) -> None:
    """Raise ValueError unless both are (N, C, H, W) maps, or both (N, C) vectors, of one batch."""
    if teacher is None or student.ndim != teacher.ndim or student.ndim not in (2, 4):
        raise ValueError(f"needs maps (N, C, H, W) or vectors (N, C) on both sides, got {said(student, teacher)}")
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(f"the batches differ: {said(student, teacher)}")
    if not student.numel() or not teacher.numel():
        raise ValueError(f"nothing to compare: {said(student, teacher)}")


def paired_vectors(student: Tensor, teacher: Tensor | None) -> None:
    """Raise ValueError unless both are vectors (N, D) of the same entities, whose D may differ."""
    if teacher is None or student.ndim != 2 or teacher.ndim != 2 or student.shape[0] != teacher.shape[0]:
        raise ValueError(f"needs vectors (N, D) of the same N entities, got {said(student, teacher)}")
    if not student.numel() or not teacher.numel():
        raise ValueError(f"nothing to compare: {said(student, teacher)}")


_RULES = {"equal": equal_shapes, "maps": paired_maps, "vectors": paired_vectors}


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

"""Base class of all losses: a module from (student, teacher) to a scalar that declares its own invariants."""

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
    """Valid inputs of a loss, `loss(student, teacher, target, **context)`, small enough for tests."""

    student: Maps
    teacher: Maps | None
    target: Tensor | None = None
    context: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


class Loss(nn.Module):
    """Base of all losses. Called as `loss(student, teacher, target=None, **context)` it returns a scalar tensor.

    A subclass implements only its formula in `forward`. `__call__` first compares the shapes of both sides, detaches
    the teacher, converts half-precision inputs to float32 and disables autocast, so that sums, norms and differences
    are computed in full precision. (Call the module, not `forward`.)

    Class attributes describe a loss; an instance may override them where an option changes them:

    * `kind`: what is compared: `"output"` (images or regression outputs), `"logits"` or `"feature"`. A term of kind
      feature must name taps; the others default to the networks' outputs.
    * `reference`: the default for `teacher`: the teacher's output (`"teacher"`) or the ground truth (`"target"`), as in
      a plain pixel loss.
    * `layers`: `"single"` takes one tensor per side (a recipe with several taps sums over them, with one loss module
      per tap); `"list"` takes a list of tensors per side, of equal length.
    * `shapes`: what the two sides of a layer must have in common, checked in `prepare` and at every call: `"equal"`,
      the whole shape; `"maps"`, the batch of maps (N, C, H, W) or vectors (N, C), whose channels and sizes may differ;
      `"vectors"`, the N of vectors (N, D). A loss with another rule overrides `check`.
    * `needs`: keywords required from the training step: `lr`, `hr`, `index`, `mask`, `step`, `progress`, and in GANs
      `ema_output`.
    * `uses`: optional keywords, passed if the training step has them; also `original`, the ground truth before it was
      sharpened, and `known`, where the ground truth is known.
    * `trains_student`: False for a loss that trains only its own parts (in a stage before distillation).
    * `keeps_autocast`: True for a loss dominated by its own convolutions, which run under the caller's autocast.
    * `renamed`: former names of options, which `build` still accepts.
    * `zero_at_equal`, `stochastic`, `permutation_invariant`: invariants checked by the tests over the registry.
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
            SrkdError: the sides differ in batch, shape or number of layers so that they cannot be compared, or a
                keyword of `needs` is missing.
        """
        self._check(student, teacher)
        if self._prepared_for is not None and self._prepared_for != _channels(student, teacher):
            raise SrkdError(
                f"{self.name}: its learned parts were built for other channels than {shapes_of(student, teacher)}: "
                "call prepare(student, teacher) again"
            )
        with nullcontext() if self.keeps_autocast else _no_autocast(student):
            try:
                return super().__call__(full_precision(student), detached(full_precision(teacher)), target, **context)
            except KeyError as error:
                missing = str(error.args[0]) if error.args else ""
                if missing not in self.needs or missing in context:
                    raise
                raise SrkdError(f"{self.name}: needs the keyword {missing}: call it with {missing}=...") from error

    def prepare(self, student: Maps, teacher: Maps, **context: Any) -> None:
        """Check the shapes and build the learned parts from them; called once, before the optimiser is built.

        Subclasses with learned parts implement `fit`.

        Raises:
            SrkdError: this loss cannot compare the shapes; the message states them.
        """
        self._check(student, teacher)
        try:
            self.fit(detached(full_precision(student)), detached(full_precision(teacher)), **context)
        except ValueError as error:
            raise SrkdError(f"{self.name}: {error}") from error
        if self.shapes in ("maps", "vectors") and self.state_dict():
            self._prepared_for = _channels(student, teacher)

    def fit(self, student: Any, teacher: Any, **context: Any) -> None:
        """Build the learned parts; `student` and `teacher` are tensors, or lists of them if `layers` is `"list"`."""

    def check(self, student: Any, teacher: Any) -> None:
        """Compare the shapes of the two sides of one layer. Runs at every call, so it must be cheap.

        With `layers = "list"` it runs once per layer.

        Raises:
            ValueError: they cannot be compared.
        """
        _RULES[self.shapes](student, teacher)

    def check_layers(self, student: Sequence[Tensor], teacher: Sequence[Tensor] | None) -> None:
        """Compare two lists of layers: by default of equal length, each pair by `check`. Raises ValueError."""
        if not student or teacher is None or len(student) != len(teacher):
            counts = f"{len(student)} of the student and {len(teacher or ())} of the teacher"
            raise ValueError(f"needs the same number of layers per side, got {counts}")
        for ours, theirs in zip(student, teacher, strict=True):
            self.check(ours, theirs)

    def _check(self, student: Any, teacher: Any) -> None:
        try:
            for side, maps in (("student", student), ("teacher", teacher)):
                if self.layers == "single" and not isinstance(maps, (Tensor, type(None))):
                    raise ValueError(f"compares one layer per side, but the {side} gives a list of {_length(maps)}")
                if self.layers == "list" and not isinstance(maps, (list, tuple, type(None))):
                    raise ValueError(f"compares a list of layers per side, but the {side} gives a single tensor")
            (self.check_layers if self.layers == "list" else self.check)(student, teacher)
        except ValueError as error:
            raise SrkdError(f"{self.name}: {error}") from error

    @classmethod
    def example(cls, seed: int) -> Example:
        """Valid inputs for tests, the same for the same seed. By default two feature maps of (4, 8, 6, 6)."""
        rng = torch.Generator().manual_seed(seed)
        return Example(torch.randn(4, 8, 6, 6, generator=rng), torch.randn(4, 8, 6, 6, generator=rng))


def shapes_of(student: Any, teacher: Any) -> str:
    """Both sides' shapes as text, for messages."""
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
    """Raise ValueError unless both sides have the same, non-empty shape."""
    if teacher is None or student.shape != teacher.shape:
        raise ValueError(f"needs equal shapes on both sides, got {shapes_of(student, teacher)}")
    if not student.numel():
        raise ValueError(f"empty input: {shapes_of(student, teacher)}")


def paired_maps(student: Tensor, teacher: Tensor | None) -> None:
    """Raise ValueError unless both are maps (N, C, H, W), or both vectors (N, C), with the same N."""
    if teacher is None or student.ndim != teacher.ndim or student.ndim not in (2, 4):
        raise ValueError(f"needs maps (N, C, H, W) or vectors (N, C) on both sides, got {shapes_of(student, teacher)}")
    if student.shape[0] != teacher.shape[0]:
        raise ValueError(f"the batches differ: {shapes_of(student, teacher)}")
    if not student.numel() or not teacher.numel():
        raise ValueError(f"empty input: {shapes_of(student, teacher)}")


def paired_vectors(student: Tensor, teacher: Tensor | None) -> None:
    """Raise ValueError unless both are vectors (N, D) of the same entities, whose D may differ."""
    if teacher is None or student.ndim != 2 or teacher.ndim != 2 or student.shape[0] != teacher.shape[0]:
        raise ValueError(f"needs vectors (N, D) of the same N entities, got {shapes_of(student, teacher)}")
    if not student.numel() or not teacher.numel():
        raise ValueError(f"empty input: {shapes_of(student, teacher)}")


_RULES = {"equal": equal_shapes, "maps": paired_maps, "vectors": paired_vectors}


def full_precision(maps: Any) -> Any:
    """Half-precision tensors, also inside a list, as float32; everything else unchanged."""
    if isinstance(maps, Tensor):
        return maps.float() if maps.dtype in (torch.float16, torch.bfloat16) else maps
    return [full_precision(m) for m in maps] if isinstance(maps, (list, tuple)) else maps


def detached(maps: Any) -> Any:
    """Tensors detached from the graph, also inside a list."""
    if isinstance(maps, Tensor):
        return maps.detach()
    return [detached(m) for m in maps] if isinstance(maps, (list, tuple)) else maps


def positive(name: str, value: float, *, zero: bool = False) -> float:
    """Return `value` if it is a positive number (or zero if `zero`), else raise ValueError."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (value >= 0 if zero else value > 0):
        raise ValueError(f"{name} must be a number {'>=' if zero else '>'} 0, got {value!r}")
    return value


def integer(name: str, value: int, low: int = 1, high: int | None = None) -> int:
    """Return `value` if it is an integer from `low` to `high`, else raise ValueError."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        span = f">= {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be an integer {span}, got {value!r}")
    return value


def choice(name: str, value: str, known: Sequence[str]) -> str:
    """Return `value` if it is one of `known`, else raise ValueError."""
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(known)}, got {value!r}")
    return value


def unprepared(loss: Loss, part: str) -> SrkdError:
    """The error of a loss called before `prepare` built the part that it needs."""
    return SrkdError(f"{loss.name}: call prepare(student, teacher) first: it builds the {part} from their shapes")


def _no_autocast(maps: Any) -> torch.autocast:
    first = maps if isinstance(maps, Tensor) else maps[0]
    return torch.autocast(first.device.type, enabled=False)


def _length(maps: Any) -> int:
    return len(maps) if isinstance(maps, Sequence) else 0

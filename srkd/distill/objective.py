"""The training objective, a weighted list of loss terms, and the forward pass of the student that it trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from srkd import losses
from srkd.distill.taps import Taps, resolve
from srkd.distill.teachers import Prediction, run_network
from srkd.distill.weights import Balance, Weight
from srkd.errors import SrkdError, unknown
from srkd.losses import Loss

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_TERM_KEYS = {"type", "at", "weight", "balance", "target", "name"}


@dataclass
class Term:
    """One entry of `train.losses`: the loss, the layers and the reference that it compares, and its weight.

    `student_at` and `teacher_at` are lists of module paths of equal length; empty means the networks' outputs.
    `against` is `teacher` or `target` (the ground truth).
    """

    type: str
    name: str
    weight: Weight = field(default_factory=lambda: Weight(1.0, 1.0))
    student_at: list[str] = field(default_factory=list)
    teacher_at: list[str] = field(default_factory=list)
    against: str = "teacher"
    options: dict[str, Any] = field(default_factory=dict)
    balance: Balance | None = None

    @classmethod
    def parse(cls, spec: Mapping[str, Any], name: str | None = None) -> Term:
        """Read `{type, at, weight, balance, target, name, **options}`.

        `at` is a path, glob or list of them for both networks, or `{student: ..., teacher: ...}`; `target: gt` compares
        with the ground truth, `target: teacher` with the teacher. `weight` is a number, or `{from, to, start, end}` for
        one that changes between two steps. `balance: {share, every}` scales the term so that its gradient norm over the
        student's parameters is that share of the task terms' (those against the ground truth); `weight` multiplies the
        result, so that a balanced term can also be faded.

        Raises:
            SrkdError: unknown loss or option, a weight that is negative or not a number, missing or unpaired taps.
        """
        kind = spec.get("type")
        if not isinstance(kind, str):
            raise SrkdError(f"a loss term needs `type`, the name of a loss; got {dict(spec)}")
        loss = losses.get(kind)
        try:
            weight = Weight.parse(spec.get("weight", 1.0))
            balance = Balance.parse(spec["balance"]) if "balance" in spec else None
        except SrkdError as error:
            raise SrkdError(f"{kind}: {error}") from error
        if balance is not None and not loss.trains_student:
            raise SrkdError(f"{kind}: gives the student no gradient that `balance` could scale")
        at = spec.get("at", [])
        sides = at if isinstance(at, Mapping) else {"student": at, "teacher": at}
        if set(sides) != {"student", "teacher"} or not all(map(_are_paths, sides.values())):
            raise SrkdError(f"{kind}: at must be paths or {{student: ..., teacher: ...}}, got {at!r}")
        if loss.kind == "feature" and not at:
            raise SrkdError(f"{kind}: compares features and needs `at`, the module paths to compare")
        sources = {"gt": "target", "teacher": "teacher", "default": loss.reference}
        target = sources.get(str(spec.get("target", "default")))
        if target is None:
            raise SrkdError(f"{kind}: target must be gt or teacher, got {spec['target']!r}")
        options = {loss.renamed.get(key, str(key)): value for key, value in spec.items() if key not in _TERM_KEYS}
        for key in options:
            if key not in losses.options(kind):
                raise SrkdError(f"{kind}: {unknown('option', key, [*losses.options(kind), *_TERM_KEYS])}")
        losses.build(kind, **options)
        return cls(
            kind,
            str(spec.get("name") or name or kind),
            weight,
            _list(sides["student"]),
            _list(sides["teacher"]),
            target,
            options,
            balance,
        )

    @property
    def is_task(self) -> bool:
        """Whether balanced terms are scaled relative to this term's gradient."""
        return self.against == "target" and self.balance is None


def _are_paths(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(v, str) for v in value))


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def parse_terms(specs: Sequence[Mapping[str, Any]]) -> list[Term]:
    """Parse all terms; a repeated name gets a numeric suffix.

    Raises:
        SrkdError: one line that lists every error in every term.
    """
    if not isinstance(specs, Sequence) or not all(isinstance(spec, Mapping) for spec in specs):
        raise SrkdError(f"losses: must be a list of mappings, each with its `type`; got {str(specs)[:200]!r}")
    terms: list[Term] = []
    errors: list[str] = []
    for place, spec in enumerate(specs):
        try:
            term = Term.parse(spec)
        except SrkdError as error:
            errors.append(f"losses.{place}: {error}")  # as --set train.losses.0.weight=1 names it
            continue
        used, name = {_key(t) for t in terms}, term.name
        number = sum(t.type == term.type for t in terms)
        while _key(term) in used:
            number += 1
            term.name = f"{name}_{number}"
        terms.append(term)
    balanced = [term.name for term in terms if term.balance is not None]
    if balanced and not errors and not any(term.is_task and term.weight.ever for term in terms):
        errors.append(f"{', '.join(balanced)}: balance needs a term against the ground truth to balance with")
    if terms and not errors and not any(term.weight.ever for term in terms):
        errors.append("losses: every term has weight 0")
    if errors:
        raise SrkdError("; ".join(errors))
    return terms


class Objective(nn.Module):
    """The weighted sum of the loss terms, with their learned parts as submodules.

    Args:
        terms: as `parse_terms` returns them.

    After construction, call `resolve_taps` to turn globs into paths and `prepare` to build the learned parts and check
    all terms; then `forward` returns the total and the value of each term.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        super().__init__()
        self.terms = list(terms)
        self.modules_of = nn.ModuleDict({_key(term): nn.ModuleList([self._build(term)]) for term in self.terms})
        self.weights: dict[str, float | Tensor] = {}
        self._parameters_of_student: list[nn.Parameter] = []
        self._measured: set[str] = set()  # balanced terms whose scale is above 0
        self._batch_norm = False
        for term in self.terms:
            if term.balance is not None:
                # 0 until it is measured. A buffer, so that a resumed run continues with it.
                self.register_buffer(_scale_key(term), torch.zeros(()))

    @staticmethod
    def _build(term: Term) -> Loss:
        return losses.build(term.type, **term.options)

    def resolve_taps(self, student: nn.Module, teacher: nn.Module | None) -> None:
        """Replace globs by the module paths they match and build one loss module for each pair of single layers.

        Raises:
            SrkdError: a path that matches nothing, different numbers of layers; all errors in one line.
        """
        self._batch_norm = any(isinstance(m, _NORMS) for m in student.modules())
        errors = []
        for term in self.terms:
            try:
                term.student_at = resolve(student, term.student_at)
                if term.against == "teacher" and teacher is not None:
                    term.teacher_at = resolve(teacher, term.teacher_at)
                if term.against == "teacher" and len(term.student_at) != len(term.teacher_at):
                    raise SrkdError(
                        f"at names {len(term.student_at)} student and {len(term.teacher_at)} teacher layers"
                    )
            except SrkdError as error:
                errors.append(f"{term.name}: {error}")
                continue
            if losses.get(term.type).layers == "single" and len(term.student_at) > 1:
                self.modules_of[_key(term)] = nn.ModuleList(self._build(term) for _ in term.student_at)
        if errors:
            raise SrkdError("; ".join(errors))

    @property
    def student_taps(self) -> list[str]:
        """Module paths of the student used by at least one term."""
        return list(dict.fromkeys(path for term in self.terms for path in term.student_at))

    @property
    def teacher_taps(self) -> list[str]:
        """Module paths of the teacher used by at least one term."""
        return list(dict.fromkeys(p for t in self.terms if t.against == "teacher" for p in t.teacher_at))

    @property
    def needs_teacher(self) -> bool:
        return any(term.against == "teacher" for term in self.terms)

    def _losses(self, term: Term) -> list[Loss]:
        return list(cast("nn.ModuleList", self.modules_of[_key(term)]))  # type: ignore[arg-type]

    def _pairs(
        self, term: Term, student: Prediction, teacher: Prediction, target: Tensor | None
    ) -> list[tuple[Any, Any]]:
        """The inputs of the term's loss modules: one (student, reference) pair per module."""
        ours: list[Tensor | None] = [student.output]
        if term.student_at:
            ours = [student.features[path] for path in term.student_at]
        if term.against == "target":
            theirs: list[Tensor | None] = [target] * len(ours)
        elif term.teacher_at:
            theirs = [teacher.features[path] for path in term.teacher_at]
        else:
            theirs = [teacher.output]
        missing = [
            side for side, values in (("student", ours), (term.against, theirs)) if any(v is None for v in values)
        ]
        if missing:
            raise SrkdError(f"{term.name}: the {missing[0]} has no output to compare")
        if losses.get(term.type).layers == "list":
            return [(ours, theirs)]
        return list(zip(ours, theirs, strict=True))

    def term_value(
        self, term: Term, student: Prediction, teacher: Prediction, target: Tensor | None, context: Mapping[str, Any]
    ) -> Tensor:
        """The unweighted value of one term: the sum over its layers."""
        values = []
        pairs = self._pairs(term, student, teacher, target)
        for loss, (ours, theirs) in zip(self._losses(term), pairs, strict=True):
            values.append(loss(ours, theirs, target, **_loss_context(loss, context)))
        return torch.stack(values).sum() if len(values) > 1 else values[0]

    def forward(
        self, student: Prediction, teacher: Prediction, target: Tensor | None, context: Mapping[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum, and each term's unweighted value by name (both with their graph).

        `context` may contain `step`, counted from 0, which schedules and balances follow. Afterwards `self.weights`
        contains the factor of each value. At a step where all weights are 0, as between two terms of which one follows
        the other, all terms are computed and their sum is 0.
        """
        step = int(context.get("step", 0))
        active = any(term.weight.at(step) > 0 for term in self.terms)
        values = {
            term.name: self.term_value(term, student, teacher, target, context)
            for term in self.terms
            if self._is_computed(term, step) or not active
        }
        if torch.is_grad_enabled():
            self._update_scales(values, step)
        self.weights = {term.name: self._weight(term, step) for term in self.terms if term.name in values}
        return torch.stack([value * self.weights[name] for name, value in values.items()]).sum(), values

    def _is_computed(self, term: Term, step: int) -> bool:
        """Whether a term is computed: distributed training needs gradients of all learned parts, even at weight 0."""
        learns = term.weight.ever and any(p.requires_grad for p in self.modules_of[_key(term)].parameters())
        return learns or term.weight.at(step) > 0

    def _weight(self, term: Term, step: int) -> float | Tensor:
        weight = term.weight.at(step)
        return weight if term.balance is None else weight * self.get_buffer(_scale_key(term))

    def _update_scales(self, values: Mapping[str, Tensor], step: int) -> None:
        """Update the scales of the balanced terms that are due: one backward pass each, and one for the task."""
        balanced = [(t, t.balance) for t in self.terms if t.balance and t.name in values]
        due = [(term, balance) for term, balance in balanced if self._is_due(term, balance, step)]
        task = [values[t.name] * t.weight.at(step) for t in self.terms if t.is_task and t.name in values]
        if not due or not task:
            return
        task_norm = self._norm(torch.stack(task).sum())
        for term, balance in due:
            scale, norm = self.get_buffer(_scale_key(term)), self._norm(values[term.name])
            measured = balance.share * task_norm / norm
            smoothed = torch.where(scale > 0, (scale + measured) / 2, measured)
            # Keep the scale where the term has no gradient in this batch.
            scale.copy_(torch.where(torch.isfinite(smoothed), smoothed, scale))

    def _is_due(self, term: Term, balance: Balance, step: int) -> bool:
        """Whether to measure a term's scale: every so many steps, and at once while there is none."""
        if term.name not in self._measured and bool(self.get_buffer(_scale_key(term))):
            self._measured.add(term.name)
        return step % balance.every == 0 or term.name not in self._measured

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)
        self._measured.clear()  # the scales may be 0 again, as after the dry run's step

    def _norm(self, value: Tensor) -> Tensor:
        """The norm of a value's gradient over the student's parameters, averaged over the distributed processes."""
        norm: Tensor = _gradient(value, self._parameters_of_student).norm()
        if torch.distributed.is_initialized():
            torch.distributed.all_reduce(norm)
            norm /= torch.distributed.get_world_size()
        return norm

    def prepare(
        self,
        student: Prediction,
        teacher: Prediction,
        target: Tensor | None,
        context: Mapping[str, Any],
        parameters: Sequence[nn.Parameter],
    ) -> None:
        """Build every loss's learned parts and compute every term once at weight 1.

        Args:
            student: the student's prediction for one batch, with its graph.
            parameters: the student's parameters; each term must give some of them a gradient.

        Raises:
            SrkdError: one line that lists every error: incomparable shapes, a missing context key, a non-finite output,
                a term without a gradient.
        """
        self._parameters_of_student = list(parameters)
        errors = []
        for term in self.terms:
            try:
                self._prepare_term(term, student, teacher, target, context, parameters)
            except SrkdError as error:
                text = str(error)
                errors.append(text if text.startswith(term.name) else f"{term.name}: {text}")
        if errors:
            raise SrkdError("; ".join(errors))

    def _prepare_term(
        self,
        term: Term,
        student: Prediction,
        teacher: Prediction,
        target: Tensor | None,
        context: Mapping[str, Any],
        parameters: Sequence[nn.Parameter],
    ) -> None:
        pairs = self._pairs(term, student, teacher, target)
        for loss, (ours, theirs) in zip(self._losses(term), pairs, strict=True):
            missing = [key for key in loss.needs if key not in context]
            if missing:
                raise SrkdError(f"needs {', '.join(missing)}, which this task does not provide")
            if term.against == "target" and "known" in context and "known" not in loss.uses:
                able = ", ".join(name for name in losses.names() if _leaves_out_unknown(name))
                raise SrkdError(f"compares with the ground truth, which some inputs of a batch do not have: use {able}")
            _check_finite(term, theirs)
            try:
                loss.prepare(ours, theirs, **_loss_context(loss, {"batch_norm": self._batch_norm, **context}))
            except (ValueError, TypeError) as error:
                raise SrkdError(str(error)) from error
            loss.to(device=_first(ours).device)
        modules = self.modules_of[_key(term)]
        buffers = {name: buffer.clone() for name, buffer in modules.named_buffers()}
        try:
            value = self.term_value(term, student, teacher, target, context)
        except (ValueError, TypeError, RuntimeError) as error:
            raise SrkdError(f"{type(error).__name__}: {error}".splitlines()[0]) from error
        if value.ndim or not torch.isfinite(value):
            raise SrkdError(f"its value is {value.tolist()}, not one finite number")
        gradients = (
            torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
            if value.requires_grad
            else []
        )
        if losses.get(term.type).trains_student and all(g is None for g in gradients):
            raise SrkdError("gives the student no gradient")
        for name, buffer in buffers.items():
            # This batch comes again in training: queues, banks and statistics must not have seen it.
            modules.get_buffer(name).copy_(buffer)
        if not term.weight.ever:
            # Distributed training waits for the gradient of every parameter that requires one.
            modules.requires_grad_(False)

    def monitor(self, values: Mapping[str, Tensor], parameters: Sequence[nn.Parameter]) -> dict[str, float]:
        """Gradient norm of each weighted term over the student's parameters, and its cosine to the task term's.

        Args:
            values: as the last `forward` returned them, before backward; the graph is kept.

        Returns:
            `grad/<term>` and, for all but the task term, `cos/<term>`. Costs one backward pass per term.
        """
        ground = [t.name for t in self.terms if t.is_task and t.name in values]
        task_term = ground[0] if ground else None
        flat = {name: _gradient(value * self.weights[name], parameters) for name, value in values.items()}
        report = {f"grad/{name}": gradient.norm().item() for name, gradient in flat.items()}
        if task_term is not None:
            for name, gradient in flat.items():
                if name != task_term:
                    cosine = torch.cosine_similarity(gradient, flat[task_term], dim=0)
                    report[f"cos/{name}"] = cosine.item()
        return report


class Step(nn.Module):
    """Student and objective as one module, so that distributed training sees every trainable parameter.

    Args:
        student: called with `batch[input]` (see `run_network`).
        objective: with resolved taps.
        input, target: batch keys of the student's input and of the ground truth.
    """

    def __init__(self, student: nn.Module, objective: Objective, input: str = "lr", target: str = "hr") -> None:
        super().__init__()
        self.student, self.objective = student, objective
        self.input, self.target = input, target
        self.taps = Taps(student, objective.student_taps)

    def predict(self, batch: Mapping[str, Any]) -> Prediction:
        """The student's float32 output and its features.

        Raises:
            SrkdError: the student does not return a single tensor.
        """
        with self.taps:
            output = run_network(self.student, batch, self.input)
        if not isinstance(output, Tensor):
            raise SrkdError(
                f"{type(self.student).__name__} returns a {type(output).__name__}, not one tensor; wrap it in a module "
                "that returns the tensor to train"
            )
        return Prediction(output.float(), self.taps.features)

    def forward(
        self, batch: Mapping[str, Any], teacher: Prediction, context: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """The student's output, the objective's total and the value of each term."""
        student = self.predict(batch)
        assert student.output is not None
        return student.output, *self.objective(student, teacher, batch[self.target], context)


def _key(term: Term) -> str:
    # Module names must not contain dots, and those of a ModuleDict must not be one of its methods.
    name = term.name.replace(".", "_")
    return f"{name}_" if hasattr(nn.ModuleDict, name) else name


def _scale_key(term: Term) -> str:
    return f"scale_of_{_key(term)}"


def _gradient(value: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
    """The gradient of a value over parameters as one vector; the graph is kept."""
    gradients = torch.autograd.grad(value, list(parameters), retain_graph=True, allow_unused=True)
    pairs = zip(parameters, gradients, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in pairs])


def _loss_context(loss: Loss, context: Mapping[str, Any]) -> dict[str, Any]:
    """The context keys passed to the loss: all that it needs, and those of its optional ones that are available."""
    needed = {key: context[key] for key in loss.needs}
    return {**needed, **{key: context[key] for key in loss.uses if key in context}}


def _leaves_out_unknown(name: str) -> bool:
    """Whether the loss compares with the ground truth only where it is known."""
    loss = losses.get(name)
    return loss.reference == "target" and "known" in loss.uses


def _first(maps: Tensor | Sequence[Tensor]) -> Tensor:
    return maps if isinstance(maps, Tensor) else maps[0]


def _check_finite(term: Term, reference: Tensor | Sequence[Tensor]) -> None:
    for tensor in [reference] if isinstance(reference, Tensor) else reference:
        if not torch.isfinite(tensor).all():
            raise SrkdError(f"the {term.against}'s output contains NaN or infinity")

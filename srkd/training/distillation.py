"""The base of every task that trains a student: from its losses and its teacher to the steps of the loop."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from srkd.distill.objective import Objective, Step, parse_terms
from srkd.distill.teachers import CachedTeacher, Prediction, Teacher, parse_teachers
from srkd.errors import SrkdError, check_all, one_line_errors
from srkd.training.optimisers import make_optimiser
from srkd.training.recipe import Optimiser
from srkd.training.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class DistillationTask(Task):
    """A student trained with a weighted list of losses, supervised or distilled from a teacher.

    A subclass reads its data and builds the student in `prepare`, makes its teacher in `make_teacher`, and implements
    `batch`, `check_validation` and `validate`. It may train further networks in the same way: `prepare_losses` and
    `register` for each.

    Class attributes:
        input, target: the keys of a batch under which it has the student's input and the ground truth.
        network_key: the student's key in the recipe and its attribute of the task; its teacher's is
            `<network_key>_teacher`.
        optim_key, optimiser: the key of its optimiser under `train:`, and that optimiser's name in the state.
    """

    input: ClassVar[str] = "input"
    target: ClassVar[str] = "target"
    network_key: ClassVar[str] = "network"
    optim_key: ClassVar[str] = "optim"
    optimiser: ClassVar[str] = "net"

    def __init__(self, recipe: Any) -> None:
        super().__init__(recipe)
        # Steps as wrapped by Fabric, by optimiser. In a dictionary because they are not submodules: their parameters
        # are already those of the networks and the objectives.
        self.wrapped: dict[str, nn.Module] = {}

    @abstractmethod
    def prepare(self) -> None:
        """Read the data, and build the student on `self.device`. Errors that are independent should be raised
        together (`check_all`)."""

    @abstractmethod
    def make_teacher(self) -> Teacher:
        """The teacher of the losses, after resolving the taps of the objective for it and the student.

        Raises:
            SrkdError: the recipe has none, or it cannot be used by these losses.
        """

    @abstractmethod
    def check_validation(self, network: nn.Module) -> None:
        """Score a few examples with `network`, and check the score that selects the best checkpoint.

        Raises:
            SrkdError: what would otherwise fail at the first validation.
        """

    def losses(self) -> list[dict[str, Any]]:
        """The recipe's loss terms."""
        return list(self.recipe.train.losses)

    @property
    def student(self) -> nn.Module:
        return self.get_submodule(self.network_key)

    def context(self, batch: Mapping[str, Any], step: int) -> dict[str, Any]:
        """Values that losses may request by name: those of the batch, `step` from 0, and `progress` from 0 to 1."""
        return {**batch, "step": step, "progress": step / self.recipe.train.total_iter}

    def setup(self, fabric: Fabric) -> None:
        self.fabric, self.device = fabric, fabric.device
        check_all(self.prepare, self.make_objective)
        self.teacher = self.read_teacher()
        step, spec = Step(self.student, self.objective, self.input, self.target), self._optimiser_spec()
        self.prepare_losses(step, self.teacher, partial(make_optimiser, self.student.parameters(), spec))
        self.register(self.optimiser, step, spec)

    def make_objective(self) -> None:
        self.objective = Objective(parse_terms(self.losses()))

    def _optimiser_spec(self) -> Optimiser:
        spec: Optimiser = getattr(self.recipe.train, self.optim_key)
        return spec

    def read_teacher(self) -> Teacher:
        if self.objective.needs_teacher:
            return self.make_teacher()
        self.objective.resolve_taps(self.student, None)
        if self.given_teacher() is not None:
            self.notices.append("no loss uses the teacher: it is not loaded")
        return self.no_teacher()

    def no_teacher(self) -> Teacher:
        """The teacher of losses that compare with none."""
        return CachedTeacher()

    def given_teacher(self) -> Any:
        """What the recipe gives as teacher: a specification, a list of them, or None."""
        return getattr(self.recipe, f"{self.network_key}_teacher")

    def teacher_specs(self) -> list[tuple[dict[str, Any], float]]:
        """The recipe's teachers with their shares, as `parse_teachers` returns them; at least one.

        Raises:
            SrkdError: the recipe has none; several, but a loss compares features.
        """
        key = f"{self.network_key}_teacher"
        try:
            specs = parse_teachers(self.given_teacher())
        except SrkdError as error:
            raise SrkdError(f"{key}: {error}") from error
        if not specs:
            names = ", ".join(term.name for term in self.objective.terms if term.against == "teacher")
            raise SrkdError(
                f"{names}: compares with a teacher, but the recipe has no {key}; set {key} to {{file: a checkpoint}}"
            )
        if len(specs) > 1:
            self.require_outputs("and those of several teachers have no common meaning: use one teacher")
        return specs

    def require_outputs(self, reason: str) -> None:
        """Raise SrkdError, with this reason, if a loss compares with features of the teacher instead of its output."""
        names = [term.name for term in self.objective.terms if term.against == "teacher" and term.teacher_at]
        if names:
            raise SrkdError(f"{', '.join(names)}: compares features of the teacher (`at`), {reason}")

    def prepare_losses(self, step: Step, teacher: Teacher, *checks: Any) -> None:
        """Predict one batch, without an update, to build the losses' learned parts and to find mistakes before
        training; validation and the further checks are tried too.

        Raises:
            SrkdError: the network or the teacher fails; else all mistakes in losses and validation, in one line.
        """
        batch = self.batch(0)
        with self.autocast(0, self.device):
            with one_line_errors(f"{self.network_key} on a batch of {self.input} {_shape(batch[self.input])}"):
                student = step.predict(batch)
            with one_line_errors("the teacher"):
                predicted = teacher(batch)
        self.check_output(student, batch)
        parameters = [p for p in step.student.parameters() if p.requires_grad]
        target, context = batch[self.target], self.context(batch, 0)

        def losses() -> None:
            with one_line_errors("train.losses"):
                step.objective.prepare(student, predicted, target, context, parameters)

        check_all(losses, partial(self.check_validation, step.student), *checks)
        step.student.zero_grad(set_to_none=True)

    def check_output(self, student: Prediction, batch: Mapping[str, Any]) -> None:
        """Raise SrkdError if the student's output does not fit the batch, whatever the losses."""

    def register(self, name: str, step: nn.Module, optimiser: Optimiser) -> nn.Module:
        """Pass a step with an optimiser of its parameters to Fabric; returns the step to call."""
        self.wrapped[name], self.optimisers[name] = self.fabric.setup(
            step, make_optimiser(step.parameters(), optimiser)
        )
        return self.wrapped[name]

    def steps(self, batch: dict[str, Any], step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        with self.autocast(step, self.device):
            _, total, values = self.wrapped[self.optimiser](batch, self.teacher(batch), self.context(batch, step))
        self.log = {f"l_{name}": value.detach() for name, value in values.items()}
        if self.is_monitored(step):
            parameters = [p for p in self.student.parameters() if p.requires_grad]
            self.log.update(self.objective.monitor(values, parameters))
        yield total, self.optimisers[self.optimiser]

    def is_monitored(self, step: int) -> bool:
        """Whether the gradient norms of the loss terms are logged at this step."""
        every = self.recipe.train.monitor_freq
        return bool(every and (step + 1) % every == 0)

    @property
    def validate_every(self) -> int:
        return int(self.recipe.val.val_freq)

    def lineage(self, teacher: Any) -> dict[str, Any]:
        """The entry `lineage` of a checkpoint's description: how the network was trained."""
        recipe = self.recipe
        steps = recipe.train.total_iter
        return {"recipe": recipe.name, "seed": recipe.manual_seed, "steps": steps, "teacher": teacher}


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; every module's mode and torch's random state are restored after it."""
    modes = [(module, module.training) for module in network.modules()]
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        network.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def _shape(value: Any) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__

"""The Task interface: networks, data, training steps and validation. The training loop uses nothing else."""

from __future__ import annotations

import importlib
import pkgutil
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from srkd.errors import SrkdError, unknown
from srkd.registry import imported
from srkd.report import sections
from srkd.report.html import PageSection
from srkd.training.best import Best
from srkd.training.ema import Ema
from srkd.training.precision import bf16_is_fast
from srkd.training.recipe import Recipe
from srkd.training.resume import settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class OutOfTimeError(Exception):
    """Raised by `Task.setup` at its deadline: what it has computed so far is kept, and the next run continues."""


class SetScores(TypedDict):
    """Scores on one set: how they were measured, and {metric: {item: score}}."""

    protocol: str
    metrics: dict[str, dict[str, float]]


class Task(nn.Module, ABC):
    """Owns networks and optimisers, turns a batch into steps, and validates.

    Life cycle: `__init__(recipe)` builds the networks; `setup(fabric)` reads the data, checks everything by a dry run,
    creates the optimisers and passes networks and optimisers to Fabric; then `batch` and `steps` are called for each
    step. A resumed run restores the `state_dict` (all submodules: networks and learned parts of losses) and the
    optimisers' states.
    """

    recipe_type: ClassVar[type[Recipe]] = Recipe
    # Names under `datasets.train` that are not data but a part of a method, so that a study may compare them.
    method_data: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, recipe: Any) -> None:
        super().__init__()
        self.recipe = recipe
        self.optimisers: dict[str, Optimizer] = {}
        self.log: dict[str, Tensor | float] = {}
        self.notices: list[str] = []
        # True: `setup` only checks, and skips whatever takes long, such as building a teacher's cache.
        self.dry_run = False
        # On `time.monotonic()`'s clock; a `setup` that takes long raises OutOfTimeError then. None: no limit.
        self.deadline: float | None = None
        # The average of the trained networks' weights, set before the first step.
        self.ema: Ema | None = None

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> type[Task]:
        """The task class for a recipe that names this one; may differ for recipes of other tools (`model_type`)."""
        return cls

    @abstractmethod
    def setup(self, fabric: Fabric) -> None:
        """Read data, dry-run, fill `self.optimisers`.

        Raises:
            SrkdError: all mistakes that can be found before training, in one line.
        """

    @abstractmethod
    def batch(self, number: int) -> Any:
        """Batch `number` of the run for this process: a function of the seed and the number alone, so that a resumed
        run sees the same batches as an uninterrupted one, and several processes together the same as a single one."""

    @abstractmethod
    def steps(self, batch: Any, step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        """Yield each loss with the optimiser to step. The loop runs backward, clipping and the optimiser step before it
        resumes the generator, so that a second loss sees the effect of the first. Values to log go into `self.log`."""

    @property
    def first_full_step(self) -> int:
        """The first step, counted from 0, in which every optimiser is used; the dry run tries that step."""
        return 0

    @abstractmethod
    def trained(self) -> dict[str, nn.Module]:
        """The trained networks, which are averaged and saved, by the name of their file."""

    def weights(self, name: str) -> dict[str, Tensor]:
        """The weights of the trained network `name` in the form in which they are saved."""
        return self.trained()[name].state_dict()

    @abstractmethod
    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Scores of the networks in their current state; images may be written under `folder`."""

    @property
    def validate_every(self) -> int:
        """Steps between validations; 0 validates at the end only."""
        return 0

    def best_tracker(self) -> Best | None:
        """Tracker of the score that selects the best checkpoint and may stop training early; None: no such score.

        Raises:
            SrkdError: the recipe names a score that validations do not have.
        """
        return None

    @abstractmethod
    def meta(self, name: str) -> dict[str, Any]:
        """Description of the network `name` for its checkpoint."""

    def precision(self, device: torch.device) -> str:
        """That of forward passes, "bf16" or "fp32": what the recipe sets, or what `auto` finds fast on this device."""
        wanted = self.recipe.train.precision
        return ("bf16" if bf16_is_fast(device.type) else "fp32") if wanted == "auto" else wanted

    def autocast(self, step: int, device: torch.device) -> AbstractContextManager[Any]:
        """The context of a forward pass at `step`: in `precision`, and after `train.fp32_after` of the run in fp32."""
        train = self.recipe.train
        half = self.precision(device) == "bf16" and step < train.fp32_after * train.total_iter
        return torch.autocast(device.type, torch.bfloat16, enabled=half)

    def settings(self) -> dict[str, Any]:
        """The settings that affect results, by section; a resumed run must have the same ones."""
        return settings(self.recipe)

    def fingerprint(self) -> dict[str, str]:
        """Hashes by name of whatever else affects results; a resumed run must have the same ones."""
        return {}

    def scored_on(self) -> str | None:
        """A hash of the data that the run is scored on, known after `setup`; None if the recipe names none. A study
        compares it, if it has no sets of its own; a resumed run may be scored on other data."""
        return None

    @property
    def global_batch(self) -> int | None:
        """Examples per step over all processes, known after `setup`; None if the task does not define it."""
        return None

    def dependencies(self) -> dict[str, str]:
        """`fingerprint` and the global batch size (that of one process times the number of processes)."""
        return {**self.fingerprint(), "the global batch": str(self.global_batch)}

    @classmethod
    def shared_settings(cls, tasks: Sequence[Task]) -> dict[str, Any]:
        """Settings that all runs of a study must share, derived from their tasks after `setup`; without tasks, those of
        the dry runs in which these are set up."""
        return {}

    @classmethod
    def check_sets(cls, sets: Sequence[str]) -> None:
        """Check the data sets that will be passed to `item_scores`.

        Raises:
            SrkdError: a set is not found; by default, any set is given.
        """
        if sets:
            raise SrkdError(f"this task is scored by its own validation; remove the sets {', '.join(sets)}")

    @classmethod
    def item_scores(cls, result: Mapping[str, Any], sets: Sequence[str]) -> dict[str, SetScores]:
        """Scores of a finished run by evaluation set, item by item, for paired statistics.

        Args:
            result: the value returned by `Run.train`.
            sets: evaluation sets of the study; the default implementation ignores them and returns the last
                validation's scores, one item per metric.
        """
        values = {metric: {"all": value} for metric, value in result["metrics"].items()}
        return {"validation": {"protocol": "the task's validation", "metrics": values}}

    @staticmethod
    def health(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """What a study reports about a finished run besides its scores, from its log: rows with `network`, measurements
        and, if the run should not be averaged in silence, `problem`."""
        return []

    @classmethod
    def report_sections(cls, recipe: Any, result: Mapping[str, Any]) -> list[PageSection]:
        """Report sections on the networks of a finished run; by default the last scores of every item.

        Args:
            result: the value returned by `Run.train`.
        """
        return sections.items(cls.item_scores(result, []))

    @classmethod
    def comparison_sections(cls, models: Mapping[str, str], sets: Sequence[str]) -> list[PageSection]:
        """Report sections of a study that show networks side by side; by default none.

        Args:
            models: checkpoint paths by label.
            sets: evaluation sets of the study.
        """
        return []

    def on_stage(self, number: int, previous: dict[str, Tensor] | None) -> None:
        """Called before training with the number of the stage and the previous stage's `state_dict`.

        By default every tensor with the same name and shape is copied.
        """
        if previous is not None:
            own = self.state_dict()
            kept = {k: v for k, v in previous.items() if k in own and v.shape == own[k].shape}
            self.load_state_dict(kept, strict=False)


def find(name: str) -> type[Task]:
    """The task class named by a recipe's `task:`: `sr`, an adapter such as `ner`, `sr.gan`, or `package.module:Class`.

    A short name means the class `Task` in `srkd.<name>.task` or `srkd.adapters.<name>.task`; a dotted name such as
    `sr.gan` the one in `srkd.sr.gan`.

    Raises:
        SrkdError: no such task; the message suggests the nearest name.
    """
    if ":" in name:
        found = imported(name, "task")
        if not (isinstance(found, type) and issubclass(found, Task)):
            raise SrkdError(f'task "{name}" is not a subclass of srkd.training.task.Task')
        return found
    last = "" if "." in name else ".task"
    for module in (f"srkd.{name}{last}", f"srkd.adapters.{name}{last}"):
        try:
            found = importlib.import_module(module).Task
        except ModuleNotFoundError as error:
            if error.name and (module == error.name or module.startswith(f"{error.name}.")):
                continue
            raise
        except AttributeError:
            continue
        if isinstance(found, type) and issubclass(found, Task):
            return found
    raise unknown("task", name, ["sr", "sr.gan", "sr.real_esrgan", "imitation", *adapters()])


def adapters() -> list[str]:
    """Names of srkd's tasks outside super-resolution."""
    try:
        package = importlib.import_module("srkd.adapters")
    except ModuleNotFoundError:
        return []
    return [module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg]

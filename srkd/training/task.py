"""The Task: what is trained, on what, and how well it does. The loop knows nothing else."""

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
from srkd.report import sections
from srkd.report.html import Section
from srkd.training.best import Best
from srkd.training.precision import bf16_is_fast
from srkd.training.recipe import Recipe
from srkd.training.resume import settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class SetScores(TypedDict):
    """Scores on one set: how they were measured, and {metric: {item: score}}."""

    protocol: str
    metrics: dict[str, dict[str, float]]


class Task(nn.Module, ABC):
    """Owns networks and optimisers, turns a batch into steps, and validates.

    Life: `__init__(recipe)` builds the networks; `setup(fabric)` reads the data, checks everything by a dry run, makes
    the optimisers and hands networks and optimisers to Fabric; then for each step `batch` and `steps`. What is resumed
    is the `state_dict` (networks and learned parts of losses, whatever is a submodule) and the optimisers' states.
    """

    recipe_type: ClassVar[type[Recipe]] = Recipe
    dry_run_settings: ClassVar[
        dict[str, Any]
    ] = {}  # over a recipe that is only checked: nothing costly is built for it

    def __init__(self, recipe: Any) -> None:
        super().__init__()
        self.recipe = recipe
        self.optimisers: dict[str, Optimizer] = {}
        self.log: dict[str, Tensor | float] = {}
        self.notices: list[str] = []
        # Whether `setup` is for checking alone: then it builds nothing that takes long, such as a teacher's cache.
        self.dry = False

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> type[Task]:
        """The task that a recipe found by this name is for: another one where the recipe is a foreign tool's."""
        return cls

    @abstractmethod
    def setup(self, fabric: Fabric) -> None:
        """Read data, dry-run, fill `self.optimisers`.

        Raises:
            SrkdError: every mistake that can be found before training, in one line.
        """

    @abstractmethod
    def batch(self, number: int) -> Any:
        """Batch `number` of the run for this process: a function of the seed and the number alone, so that a resumed
        run sees what an uninterrupted one would, and processes together see what one process would."""

    @abstractmethod
    def steps(self, batch: Any, step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        """Yield each loss with the optimiser to step. The loop runs backward, clipping and the step before it resumes
        the generator, so a second loss sees the effect of the first. Values to be logged go into `self.log`."""

    @property
    def first_full_step(self) -> int:
        """The first step, counted from 0, in which everything that trains does; the dry run tries that one."""
        return 0

    @abstractmethod
    def trained(self) -> dict[str, nn.Module]:
        """The networks that training is for, by the name of their files; they are averaged and saved."""

    def weights(self, name: str) -> dict[str, Tensor]:
        """The weights of the trained network `name` as its file holds them."""
        return self.trained()[name].state_dict()

    @abstractmethod
    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Scores of the networks as they stand; images may be written under `folder`."""

    @property
    def validate_every(self) -> int:
        """Steps between validations; 0 validates at the end only."""
        return 0

    def judged_by(self) -> Best | None:
        """The score whose best validation is kept and may end the training; None where there is none.

        Raises:
            SrkdError: the recipe names a score that validations do not have.
        """
        return None

    @abstractmethod
    def meta(self, name: str) -> dict[str, Any]:
        """Description of the network `name` for its checkpoint."""

    def autocast(self, step: int, device: torch.device) -> AbstractContextManager[Any]:
        """The arithmetic of a forward pass at `step`: bf16 where the recipe or the machine says so, fp32 otherwise."""
        train = self.recipe.train
        half = train.precision == "bf16" or (train.precision == "auto" and bf16_is_fast(device.type))
        return torch.autocast(device.type, torch.bfloat16, enabled=half and step < train.fp32_after * train.total_iter)

    def settings(self) -> dict[str, Any]:
        """The parts of the recipe that a resumed run must have in common with the one it resumes, by section: all that
        a number depends on."""
        return settings(self.recipe)

    def fingerprint(self) -> dict[str, str]:
        """What else a resumed run must have in common with the one it resumes: hashes by name."""
        return {}

    @property
    def global_batch(self) -> int | None:
        """Examples a step over all processes, once the task is set up; None where the task does not say."""
        return None

    def dependencies(self) -> dict[str, str]:
        """`fingerprint` and the global batch, which processes and their own batches make up together."""
        return {**self.fingerprint(), "the global batch": str(self.global_batch)}

    @classmethod
    def shared_settings(cls, tasks: Sequence[Task]) -> dict[str, Any]:
        """Settings that runs need to have in common to be compared, found from their tasks after `setup`."""
        return {}

    @classmethod
    def check_sets(cls, sets: Sequence[str]) -> None:
        """Check the data sets that `item_scores` will be given.

        Raises:
            SrkdError: sets that there are not, or, by default, any.
        """
        if sets:
            raise SrkdError(f"this task is scored by its own validation; leave {', '.join(sets)} out")

    @classmethod
    def item_scores(cls, result: Mapping[str, Any], sets: Sequence[str]) -> dict[str, SetScores]:
        """Scores of a finished run by evaluation set, item by item, for paired statistics.

        Args:
            result: as `Run.train` returned it.
            sets: what the study evaluates on; by default there are only the last validation's scores, an item each.
        """
        values = {metric: {"all": value} for metric, value in result["metrics"].items()}
        return {"validation": {"protocol": "the task's validation", "metrics": values}}

    @classmethod
    def findings(cls, recipe: Any, result: Mapping[str, Any]) -> list[Section]:
        """What the report of a finished run shows of its networks; by default every item's last scores.

        Args:
            result: as `Run.train` returned it.
        """
        return sections.items(cls.item_scores(result, []))

    @classmethod
    def compared(cls, models: Mapping[str, str], sets: Sequence[str]) -> list[Section]:
        """What the report of a study shows of networks side by side; by default nothing.

        Args:
            models: a checkpoint for each label.
            sets: what the study evaluates on.
        """
        return []

    def on_stage(self, number: int, previous: dict[str, Tensor] | None) -> None:
        """Called before training with the number of the stage and the previous stage's `state_dict`.

        By default everything that has the same name and shape is taken over.
        """
        if previous is not None:
            own = self.state_dict()
            kept = {k: v for k, v in previous.items() if k in own and v.shape == own[k].shape}
            self.load_state_dict(kept, strict=False)

    def on_epoch(self, number: int) -> None:
        """Called before the first step of each epoch of a task that has epochs (`epoch_length`)."""

    @property
    def epoch_length(self) -> int:
        """Steps an epoch, or 0 where the data have none."""
        return 0


def find(name: str) -> type[Task]:
    """The task that a recipe's `task:` names: `sr`, an adapter such as `ner`, `sr.gan`, or `package.module:Class`.

    A short name stands for the class `Task` in `srkd.<name>.task` or `srkd.adapters.<name>.task`, a dotted one such as
    `sr.gan` for that in `srkd.sr.gan`.

    Raises:
        SrkdError: no such task; the nearest is named.
    """
    if ":" in name:
        module, _, attribute = name.partition(":")
        candidates = [(module, attribute)]
    elif "." in name:
        candidates = [(f"srkd.{name}", "Task"), (f"srkd.adapters.{name}", "Task")]
    else:
        candidates = [(f"srkd.{name}.task", "Task"), (f"srkd.adapters.{name}.task", "Task")]
    for module, attribute in candidates:
        try:
            found = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            if error.name and (module == error.name or module.startswith(f"{error.name}.")):
                continue
            raise
        except AttributeError:
            continue
        if isinstance(found, type) and issubclass(found, Task):
            return found
    raise unknown("task", name, ["sr", *adapters()])


def adapters() -> list[str]:
    """Names of srkd's tasks outside super-resolution."""
    try:
        package = importlib.import_module("srkd.adapters")
    except ModuleNotFoundError:
        return []
    return [module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg]


def require_finite(values: dict[str, float], step: int) -> None:
    """Raise SrkdError when a logged value is not finite: training has diverged and nothing after it is of use."""
    bad = [name for name, value in values.items() if value != value or abs(value) == float("inf")]
    if bad:
        raise SrkdError(
            f"training diverged at step {step}: {', '.join(bad)} is not finite; lower the learning rate, set "
            "train.clip_grad_norm or train.precision=fp32"
        )

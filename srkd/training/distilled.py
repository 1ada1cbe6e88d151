"""Base of the tasks outside super-resolution: one network, its objective, an optional teacher, and examples that are
read once. An adapter defines its data, networks and scores; see `DistilledTask`."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from srkd.distill.objective import Objective, parse_terms
from srkd.distill.step import Step
from srkd.distill.teachers import CachedTeacher, LiveTeacher, Teacher
from srkd.errors import SrkdError
from srkd.files.atomic import write_json
from srkd.files.digest import file_sha256
from srkd.safe_load import building, check_spec
from srkd.training.best import Best, BestOptions
from srkd.training.checkpoint import load_into, load_weights
from srkd.training.dry_run import one_line_errors
from srkd.training.optimisers import make_optimiser
from srkd.training.recipe import Optimiser, Recipe, Train
from srkd.training.task import SetScores, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Indices = NDArray[np.int64]


class DistilledTrain(Train):
    """`train:` of an adapter's recipe."""

    optim: Optimiser = Optimiser()
    losses: list[dict[str, Any]] = pydantic.Field(min_length=1, description="loss terms")


class DistilledValidation(BestOptions):
    """`val:` of an adapter's recipe. Without `best` no best checkpoint is kept."""

    val_freq: int = pydantic.Field(0, ge=0, description="steps between validations; 0: at the end only")
    better: Literal["higher", "lower"] = pydantic.Field(
        "higher", description="which values of the `best` score are better"
    )


class DistilledRecipe(Recipe):
    """Top-level keys of an adapter's recipe; the adapter adds `data:`."""

    free = Recipe.free | {"pretrain_network", "batch_size"}
    network: dict[str, Any] = pydantic.Field(description="{type, options}")
    network_teacher: dict[str, Any] | None = pydantic.Field(
        None, description="{file: a checkpoint written by this task}"
    )
    pretrain_network: str | None = pydantic.Field(None, description="checkpoint with the student's initial weights")
    batch_size: int = pydantic.Field(128, gt=0, description="examples per step")
    train: DistilledTrain
    val: DistilledValidation = DistilledValidation()


class DistilledTask(Task):
    """A student trained with a weighted list of losses and an optional teacher.

    An adapter implements `load` (read and check the data, return the number of training examples), `build` (a network
    from its specification), `collate` (a batch of examples: tensors under `input` and `target`, and whatever its losses
    need) and `evaluate` (scores, item by item); it may override `make_teacher` and `context`. If the networks' input
    has another key than `input` in a batch, it sets the class attribute.
    """

    recipe_type = DistilledRecipe
    recipe: DistilledRecipe
    input: ClassVar[str] = "input"
    _step: Callable[..., tuple[Tensor, Tensor, dict[str, Tensor]]]

    @abstractmethod
    def load(self) -> int:
        """Read and check the data; return the number of training examples. Must not use torch's random generator.

        Raises:
            SrkdError: the data cannot be read or do not fit the recipe.
        """

    @abstractmethod
    def build(self, spec: Mapping[str, Any]) -> nn.Module:
        """A network with random weights for these data. Raises SrkdError for an invalid specification."""

    @abstractmethod
    def collate(self, indices: Indices, random: np.random.Generator) -> dict[str, Any]:
        """The batch of these training examples, on the CPU; augmentation must use only `random`."""

    @abstractmethod
    def evaluate(self) -> dict[str, SetScores]:
        """Scores of `self.network`, which is in eval mode, by set: {metric: {item: score}}; a metric
        that is not a mean over items (macro-F1, RMSE) has one item named `all`."""

    def context(self, batch: Mapping[str, Any], step: int) -> dict[str, Any]:
        """Values that losses may request by name: those of the batch, `step`, `progress` from 0 to 1, and `examples`
        (number of training examples)."""
        progress = step / self.recipe.train.total_iter
        return {**batch, "step": step, "progress": progress, "examples": self.examples}

    def setup(self, fabric: Fabric) -> None:
        self.fabric, self.device = fabric, fabric.device
        self.examples = self.load()
        if not self.examples:
            raise SrkdError("no training examples are left")
        self.network = self.build(self.recipe.network).train().to(self.device)
        if self.recipe.pretrain_network:
            path = self.recipe.pretrain_network
            load_into(self.network, self._read(path)[0], path)
        self.objective = Objective(parse_terms(self.recipe.train.losses))
        self.teacher = self._make_teacher()
        step = Step(self.network, self.objective, self.input, "target")
        self._dry_run(step)
        optimiser = make_optimiser(step.parameters(), self.recipe.train.optim)
        wrapped_step, wrapped = fabric.setup(step, optimiser)
        # Not a submodule: its parameters are already those of the network and the objective.
        object.__setattr__(self, "_step", wrapped_step)
        self.optimisers = {"net": wrapped}

    def _make_teacher(self) -> Teacher:
        if not self.objective.needs_teacher:
            self.objective.resolve_taps(self.network, None)
            if self.recipe.network_teacher is not None:
                self.notices.append("no loss uses the teacher: it is not loaded")
            return CachedTeacher()
        return self.make_teacher()

    def make_teacher(self) -> Teacher:
        """The teacher of the losses, taps resolved for student and teacher; by default a network trained by this task.

        Raises:
            SrkdError: no teacher is given, or it was not trained by this task.
        """
        spec = self.recipe.network_teacher
        if spec is None or set(spec) != {"file"}:
            names = ", ".join(term.name for term in self.objective.terms if term.against == "teacher")
            raise SrkdError(f"{names}: compares with a teacher: set network_teacher to {{file: its checkpoint}}")
        network = self.load_trained(str(spec["file"])).to(self.device)
        self.objective.resolve_taps(self.network, network)
        return LiveTeacher(network, self.objective.teacher_taps, self.input)

    def load_trained(self, path: str) -> nn.Module:
        """The network of a checkpoint written by this task, with its weights.

        Raises:
            SrkdError: no such file, a checkpoint of another task, or a network for other data (e.g. other classes); as
                `safe_load.check_spec` and `safe_load.building`.
        """
        weights, meta = self._read(path)
        if meta["network"] != self.recipe.network:  # the recipe is trusted, and its specification may contain a path
            check_spec(meta["network"], path)
        with building(weights, path):
            network = self.build(meta["network"])
        load_into(network, weights, path)
        return network

    def _read(self, path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        weights, meta = load_weights(Path(path))
        if meta.get("task") != self.recipe.task or "network" not in meta:
            raise SrkdError(
                f'{path}: not a network of the task "{self.recipe.task}" (its task: {meta.get("task", "none")})'
            )
        return weights, meta

    def _dry_run(self, step: Step) -> None:
        """One step without an update, which builds the losses' learned parts and finds mistakes before training."""
        batch = self.batch(0)
        with self.autocast(0, self.device):
            with one_line_errors("the network"):
                student = step.predict(batch)
            with one_line_errors("the teacher"):
                teacher = self.teacher(batch)
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        with one_line_errors("train.losses"):
            self.objective.dry_run(student, teacher, batch["target"], self.context(batch, 0), parameters)
        self.network.zero_grad(set_to_none=True)

    def batch(self, number: int) -> dict[str, Any]:
        fabric, seed = self.fabric, self.recipe.manual_seed
        size = min(self.recipe.batch_size * fabric.world_size, self.examples)
        epoch, place = divmod(number, self.examples // size)
        # One permutation per epoch; the remainder, too small for a batch, is dropped.
        order = np.random.default_rng((seed, epoch)).permutation(self.examples)
        local = order[place * size : (place + 1) * size][fabric.global_rank :: fabric.world_size]
        batch = self.collate(local, np.random.default_rng((seed, number, fabric.global_rank, 1)))
        return {key: value.to(self.device) if isinstance(value, Tensor) else value for key, value in batch.items()}

    @property
    def epoch_length(self) -> int:
        size = min(self.recipe.batch_size * self.fabric.world_size, self.examples)
        return max(1, self.examples // size // self.recipe.train.accumulate)

    @property
    def global_batch(self) -> int:
        return self.recipe.batch_size * self.fabric.world_size

    def settings(self) -> dict[str, Any]:
        """The teacher is identified by the content of its file, not by its path."""
        spec = self.recipe.network_teacher or {}
        file = Path(str(spec.get("file", "")))
        return super().settings() | ({"network_teacher": file_sha256(file)} if file.is_file() else {})

    def steps(self, batch: dict[str, Any], step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        with self.autocast(step, self.device):
            _, total, values = self._step(batch, self.teacher(batch), self.context(batch, step))
        self.log = {f"l_{name}": value.detach() for name, value in values.items()}
        every = self.recipe.train.monitor_freq
        if every and (step + 1) % every == 0:
            parameters = [p for p in self.network.parameters() if p.requires_grad]
            self.log.update(self.objective.monitor(values, parameters))
        yield total, self.optimisers["net"]

    def trained(self) -> dict[str, nn.Module]:
        return {"net": self.network}

    @property
    def validate_every(self) -> int:
        return self.recipe.val.val_freq

    def best_tracker(self) -> Best | None:
        val = self.recipe.val
        if val.patience and (not val.best or not val.val_freq):
            raise SrkdError("val.patience: needs val.best (the score to compare) and val.val_freq")
        return Best(val.best, val.better == "higher", val.patience) if val.best else None

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Mean scores of `evaluate`; the scores of each item are written to scores.json in the run's folder."""
        found = self.evaluate()
        if self.fabric.is_global_zero:
            write_json(folder.parent / "scores.json", found)
        single = len(found) == 1
        return {
            metric if single else f"{name}/{metric}": float(np.mean(list(items.values())))
            for name, scores in found.items()
            for metric, items in scores["metrics"].items()
        }

    @classmethod
    def item_scores(cls, result: Mapping[str, Any], sets: Sequence[str]) -> dict[str, SetScores]:
        """Scores of the finished run's last validation, item by item."""
        path = Path(result["models"]["net"]).parent.parent / "scores.json"
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def meta(self, name: str) -> dict[str, Any]:
        recipe = self.recipe
        teacher = recipe.network_teacher if self.objective.needs_teacher else None
        return {
            "task": recipe.task,
            "network": recipe.network,
            "lineage": {
                "recipe": recipe.name,
                "seed": recipe.manual_seed,
                "steps": recipe.train.total_iter,
                "teacher": None if teacher is None else teacher.get("file"),
            },
        }

"""What tasks outside super-resolution have in common: one network, its objective, perhaps a teacher, and examples that
are read once. An adapter says what its data, networks and scores are; see `DistilledTask`."""

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
from srkd.training.best import Best, Judging
from srkd.training.checkpoint import load_into, load_weights
from srkd.training.dry_run import in_words
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


class Scoring(Judging):
    """`val:` of an adapter's recipe. Without `best` none is kept."""

    val_freq: int = pydantic.Field(0, ge=0, description="steps between validations; 0: at the end only")
    better: Literal["higher", "lower"] = pydantic.Field("higher", description="which values of the best score are")


class DistilledRecipe(Recipe):
    """The top of an adapter's recipe; the adapter adds `data:`."""

    free = Recipe.free | {"pretrain_network", "batch_size"}
    network: dict[str, Any] = pydantic.Field(description="{type, options}")
    network_teacher: dict[str, Any] | None = pydantic.Field(
        None, description="{file: a checkpoint that this task wrote}"
    )
    pretrain_network: str | None = pydantic.Field(None, description="checkpoint that the student starts from")
    batch_size: int = pydantic.Field(128, gt=0, description="examples a step")
    train: DistilledTrain
    val: Scoring = Scoring()


class DistilledTask(Task):
    """A student trained by a weighted list of losses, its teacher among them where one is named.

    An adapter writes `load` (read the data, check them, return the number of training examples), `build` (a network of
    a specification), `collate` (a batch of examples: tensors under `input` and `target`, and what its losses need) and
    `evaluate` (scores, item by item); it may override `make_teacher` and `context`. Where `input` is not the name of
    what networks take, it sets the class attribute.
    """

    recipe_type = DistilledRecipe
    recipe: DistilledRecipe
    input: ClassVar[str] = "input"
    _step: Callable[..., tuple[Tensor, Tensor, dict[str, Tensor]]]

    @abstractmethod
    def load(self) -> int:
        """Read the data and check them; returns the number of training examples. Draws nothing from torch's generator.

        Raises:
            SrkdError: data that cannot be read or do not fit the recipe.
        """

    @abstractmethod
    def build(self, spec: Mapping[str, Any]) -> nn.Module:
        """A network with random weights for these data. Raises SrkdError for a specification that is none."""

    @abstractmethod
    def collate(self, indices: Indices, random: np.random.Generator) -> dict[str, Any]:
        """The batch of these training examples, on the CPU; augmentation draws from `random` alone."""

    @abstractmethod
    def evaluate(self) -> dict[str, SetScores]:
        """Scores of `self.network`, which is in eval mode, by set: {metric: {item: score}}; what is no mean over items
        (a macro-F1, an RMSE) is one item named `all`."""

    def context(self, batch: Mapping[str, Any], step: int) -> dict[str, Any]:
        """What losses may ask for by name: the batch itself, `step`, `progress` from 0 to 1, and `examples`, how many
        the training data have."""
        progress = step / self.recipe.train.total_iter
        return {**batch, "step": step, "progress": progress, "examples": self.examples}

    def setup(self, fabric: Fabric) -> None:
        self.fabric, self.device = fabric, fabric.device
        self.examples = self.load()
        if not self.examples:
            raise SrkdError("there is nothing to train on: no example is left")
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
        # Kept out of this module's own state: its parameters are the network's and the objective's.
        object.__setattr__(self, "_step", wrapped_step)
        self.optimisers = {"net": wrapped}

    def _make_teacher(self) -> Teacher:
        if not self.objective.needs_teacher:
            self.objective.resolve_taps(self.network, None)
            if self.recipe.network_teacher is not None:
                self.notices.append("no loss looks at the teacher, which is not loaded")
            return CachedTeacher()
        return self.make_teacher()

    def make_teacher(self) -> Teacher:
        """The teacher that the losses look at, taps resolved on both sides; by default a network this task trained.

        Raises:
            SrkdError: none is named, or what is named is none of this task's.
        """
        spec = self.recipe.network_teacher
        if spec is None or set(spec) != {"file"}:
            names = ", ".join(term.name for term in self.objective.terms if term.against == "teacher")
            raise SrkdError(f"{names}: compares with a teacher: set network_teacher to {{file: its checkpoint}}")
        network = self.load_trained(str(spec["file"])).to(self.device)
        self.objective.resolve_taps(self.network, network)
        return LiveTeacher(network, self.objective.teacher_taps, self.input)

    def load_trained(self, path: str) -> nn.Module:
        """The network of a checkpoint that this task wrote, with its weights.

        Raises:
            SrkdError: no such file, another task's, or a network for other data (other classes, say); as
            `safe_load.check_spec` and `safe_load.building`.
        """
        weights, meta = self._read(path)
        if meta["network"] != self.recipe.network:  # which is the user's own word, and may name a folder
            check_spec(meta["network"], path)
        with building(weights, path):
            network = self.build(meta["network"])
        load_into(network, weights, path)
        return network

    def _read(self, path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        weights, meta = load_weights(Path(path))
        if meta.get("task") != self.recipe.task or "network" not in meta:
            raise SrkdError(f'{path}: no network of the task "{self.recipe.task}" (but of {meta.get("task", "none")})')
        return weights, meta

    def _dry_run(self, step: Step) -> None:
        """One step without an update: builds the losses' learned parts and finds every mistake before training."""
        batch = self.batch(0)
        with self.autocast(0, self.device):
            with in_words("the network"):
                student = step.predict(batch)
            with in_words("the teacher"):
                teacher = self.teacher(batch)
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        with in_words("train.losses"):
            self.objective.dry_run(student, teacher, batch["target"], self.context(batch, 0), parameters)
        self.network.zero_grad(set_to_none=True)

    def batch(self, number: int) -> dict[str, Any]:
        fabric, seed = self.fabric, self.recipe.manual_seed
        size = min(self.recipe.batch_size * fabric.world_size, self.examples)
        epoch, place = divmod(number, self.examples // size)
        # A permutation an epoch; the last examples, too few for a batch, wait for the next one.
        order = np.random.default_rng((seed, epoch)).permutation(self.examples)
        mine = order[place * size : (place + 1) * size][fabric.global_rank :: fabric.world_size]
        batch = self.collate(mine, np.random.default_rng((seed, number, fabric.global_rank, 1)))
        return {key: value.to(self.device) if isinstance(value, Tensor) else value for key, value in batch.items()}

    @property
    def epoch_length(self) -> int:
        size = min(self.recipe.batch_size * self.fabric.world_size, self.examples)
        return max(1, self.examples // size // self.recipe.train.accumulate)

    @property
    def global_batch(self) -> int:
        return self.recipe.batch_size * self.fabric.world_size

    def settings(self) -> dict[str, Any]:
        """The teacher counts by what its file holds, wherever that lies."""
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

    def judged_by(self) -> Best | None:
        val = self.recipe.val
        if val.patience and (not val.best or not val.val_freq):
            raise SrkdError("val.patience: needs val.best, the score that decides, and val.val_freq")
        return Best(val.best, val.better == "higher", val.patience) if val.best else None

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Means of what `evaluate` finds; the scores themselves are kept in scores.json beside the run's models."""
        found = self.evaluate()
        if self.fabric.is_global_zero:
            write_json(folder.parent / "scores.json", found)
        alone = len(found) == 1
        return {
            metric if alone else f"{name}/{metric}": float(np.mean(list(items.values())))
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

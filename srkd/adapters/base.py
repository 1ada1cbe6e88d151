"""Tasks outside super-resolution: one network and examples that are read once. An adapter defines its data, networks
and scores; see `AdapterTask`."""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from srkd.distill.teachers import LiveTeacher, MeanOfTeachers, Teacher, parse_teachers
from srkd.errors import SrkdError, one_line_errors, unknown
from srkd.files.atomic import write_json
from srkd.files.digest import file_sha256
from srkd.safe_load import building, check_spec
from srkd.training.best import Best, BestOptions
from srkd.training.checkpoint import load_into, load_weights
from srkd.training.distillation import DistillationTask, evaluating
from srkd.training.recipe import Optimiser, Recipe, Train
from srkd.training.task import SetScores

_CHECKED = 8  # items that are scored before training
Indices = NDArray[np.int64]


class AdapterTrain(Train):
    """`train:` of an adapter's recipe."""

    optim: Optimiser = Optimiser()
    losses: list[dict[str, Any]] = pydantic.Field(min_length=1, description="loss terms")


class AdapterValidation(BestOptions):
    """`val:` of an adapter's recipe. Without `best` no best checkpoint is kept."""

    val_freq: int = pydantic.Field(0, ge=0, description="steps between validations; 0: at the end only")
    better: Literal["higher", "lower"] = pydantic.Field(
        "higher", description="which values of the `best` score are better"
    )


class AdapterRecipe(Recipe):
    """Top-level keys of an adapter's recipe; the adapter adds `data:`."""

    free = Recipe.free | {"pretrain_network", "batch_size"}
    network: dict[str, Any] = pydantic.Field(description="{type, options}")
    network_teacher: dict[str, Any] | list[dict[str, Any]] | None = pydantic.Field(
        None,
        description="{file: a checkpoint written by this task}, or a list of them, whose outputs are averaged, each "
        "with an optional weight",
    )
    pretrain_network: str | None = pydantic.Field(None, description="checkpoint with the student's initial weights")
    batch_size: int = pydantic.Field(128, gt=0, description="examples per step")
    train: AdapterTrain
    val: AdapterValidation = AdapterValidation()


class AdapterTask(DistillationTask):
    """A distillation task whose examples are in memory and used once per epoch, in random order.

    An adapter implements `load` (read and check the data, return the number of training examples), `build` (a network
    from its specification), `collate` (a batch of examples: tensors under `input` and `target`, and whatever its losses
    need) and `evaluate` (scores, item by item); it may override `teacher_network` or `make_teacher`, `check_trained`,
    `rebuild`, and `context`.

    `limit` is the number of items that `evaluate` needs to score; None: all. It is set while validation is checked
    before training: an adapter that scores many items uses `items[: self.limit]`.
    """

    recipe_type = AdapterRecipe
    recipe: AdapterRecipe
    limit: int | None = None

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
        """As in the base class, and `examples` (number of training examples)."""
        return {**super().context(batch, step), "examples": self.examples}

    def prepare(self) -> None:
        self.examples = self.load()
        if not self.examples:
            raise SrkdError("no training examples are left")
        self.network = self.build(self.recipe.network).train().to(self.device)
        if self.recipe.pretrain_network:
            path = self.recipe.pretrain_network
            weights, meta = self._read(path)
            self.check_trained(meta, path)
            load_into(self.network, weights, path)

    def make_teacher(self) -> Teacher:
        found = [(self.teacher_network(spec).to(self.device), share) for spec, share in self.teacher_specs()]
        self.objective.resolve_taps(self.network, found[0][0] if len(found) == 1 else None)
        teachers = [LiveTeacher(network, self.objective.teacher_taps, self.input) for network, _ in found]
        return teachers[0] if len(teachers) == 1 else MeanOfTeachers(teachers, [share for _, share in found])

    def teacher_network(self, spec: Mapping[str, Any]) -> nn.Module:
        """A teacher from its specification in the recipe; by default a network trained by this task.

        Raises:
            SrkdError: as `load_trained`, or another specification.
        """
        if set(spec) != {"file"}:
            raise SrkdError(f"network_teacher: must be {{file: a checkpoint written by this task}}, got {dict(spec)}")
        return self.load_trained(str(spec["file"]))

    def load_trained(self, path: str) -> nn.Module:
        """The network of a checkpoint written by this task, with its weights.

        Raises:
            SrkdError: no such file, a checkpoint of another task, or a network for other data (e.g. other classes); as
                `safe_load.check_spec` and `safe_load.building`.
        """
        weights, meta = self._read(path)
        self.check_trained(meta, path)
        with building(weights, path):
            network = self.rebuild(meta, path)
        load_into(network, weights, path)
        return network

    def check_trained(self, meta: Mapping[str, Any], path: str) -> None:
        """Raise SrkdError if the network of the checkpoint `path`, described by `meta`, is for other data, so that its
        weights would mean something else here."""

    def rebuild(self, meta: Mapping[str, Any], path: str) -> nn.Module:
        """The network that the checkpoint `path` describes, with random weights."""
        if meta["network"] != self.recipe.network:  # the recipe is trusted, and its specification may contain a path
            check_spec(meta["network"], path)
        return self.build(meta["network"])

    def _read(self, path: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        weights, meta = load_weights(Path(path))
        if meta.get("task") != self.recipe.task or "network" not in meta:
            raise SrkdError(
                f'{path}: not a network of the task "{self.recipe.task}" (its task: {meta.get("task", "none")})'
            )
        return weights, meta

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
        """Teachers are identified by the content of their files, not by their paths."""
        found, specs = super().settings(), parse_teachers(self.recipe.network_teacher)
        files = [Path(str(spec.get("file", ""))) for spec, _ in specs]
        if files and all(file.is_file() for file in files):
            several = len(files) > 1
            hashes = [[_content(spec), share] for spec, share in specs]
            found["network_teacher"] = hashes if several else hashes[0][0]
        return found

    def trained(self) -> dict[str, nn.Module]:
        return {"net": self.network}

    def best_tracker(self) -> Best | None:
        val = self.recipe.val
        if val.patience and (not val.best or not val.val_freq):
            raise SrkdError("val.patience: needs val.best (the score to compare) and val.val_freq")
        return Best(val.best, val.better == "higher", val.patience) if val.best else None

    def check_validation(self, network: nn.Module) -> None:
        """Raises for what `evaluate` raises for on its first items, and for a `val.best` that is not a score."""
        best = self.best_tracker()
        self.limit = _CHECKED
        try:
            with evaluating(self.network), torch.no_grad(), one_line_errors("validation"):
                names = list(_means(self.evaluate()))
        finally:
            self.limit = None
        if best is not None and best.score not in names:
            raise unknown("score in val.best", best.score, names)

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        """Mean scores of `evaluate`; the scores of each item are written to scores.json in the run's folder."""
        found = self.evaluate()
        if self.fabric.is_global_zero:
            write_json(folder.parent / "scores.json", found)
        return _means(found)

    @classmethod
    def item_scores(cls, result: Mapping[str, Any], sets: Sequence[str]) -> dict[str, SetScores]:
        """Scores of the finished run's last validation, item by item."""
        path = Path(result["models"]["net"]).parent.parent / "scores.json"
        return dict(json.loads(path.read_text(encoding="utf-8")))

    def meta(self, name: str) -> dict[str, Any]:
        files = [spec.get("file") for spec, _ in parse_teachers(self.given_teacher())]
        teacher = ", ".join(map(str, files)) if files and self.objective.needs_teacher else None
        return {"task": self.recipe.task, "network": self.recipe.network, "lineage": self.lineage(teacher)}


def _content(spec: Mapping[str, Any]) -> Any:
    """The hash of a teacher's file; by key, if the specification has others, those of the files that they name."""
    if set(spec) == {"file"}:
        return file_sha256(Path(str(spec["file"])))
    files = {key: Path(str(value)) for key, value in spec.items()}
    return {key: file_sha256(file) if file.is_file() else str(file) for key, file in files.items()}


def _means(found: Mapping[str, SetScores]) -> dict[str, float]:
    """The mean over items of each metric, by `<metric>`, or `<set>/<metric>` if there are several sets."""
    return {
        metric if len(found) == 1 else f"{name}/{metric}": float(np.mean(list(items.values()))) if items else math.nan
        for name, scores in found.items()
        for metric, items in scores["metrics"].items()
    }

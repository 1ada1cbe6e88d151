"""Super-resolution, supervised or distilled: one network trained with a weighted list of losses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from srkd.data import patches
from srkd.distill.objective import Objective, parse_terms
from srkd.distill.step import Step
from srkd.distill.teachers import CachedTeacher, LiveTeacher, Teacher
from srkd.errors import SrkdError, unknown
from srkd.inference.loading import build_or_load, read_weights
from srkd.inference.model import Model
from srkd.networks.quantisation_aware import imitate_int8, without_ranges
from srkd.networks.reparameterise import folded, widen
from srkd.report.html import PageSection
from srkd.sr import validation
from srkd.sr.cached_source import cached_source, check_cache
from srkd.sr.recipe import SRRecipe
from srkd.sr.teacher_cache import network_hash
from srkd.sr.training_images import missing_lists, training_images
from srkd.training import task as training_task
from srkd.training.best import Best
from srkd.training.checkpoint import load_into
from srkd.training.dry_run import one_line_errors
from srkd.training.optimisers import make_optimiser

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Task(training_task.Task):
    """The task `sr`: BasicSR's SRModel, and distillation from a teacher."""

    recipe_type = SRRecipe
    recipe: SRRecipe
    dry_run_settings = {"cache": {"kind": "live"}}
    _step: Callable[..., tuple[Tensor, Tensor, dict[str, Tensor]]]

    def __init__(self, recipe: SRRecipe) -> None:
        super().__init__(recipe)
        self.network_g, self._network_meta = self._generator(recipe.network_g)
        self.objective = Objective(parse_terms(recipe.train.all_losses()))

    def _generator(self, spec: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
        """A network to train, with pre-trained weights if the recipe gives any."""
        path = self.recipe.path
        built = build_or_load(spec, self.recipe.scale, "network_g")
        if path.pretrain_network_g:
            scale = self.recipe.scale if path.strict_load_g else None
            weights = read_weights(path.pretrain_network_g, scale, path.param_key_g)
            self._load_initial(weights, built.network, path.pretrain_network_g, path.strict_load_g)
        if self.recipe.train.reparameterise:
            widen(built.network)
        if self.recipe.train.quantisation_aware:
            if self.recipe.train.reparameterise:
                raise SrkdError("train.quantisation_aware needs plain convolutions: set train.reparameterise to false")
            imitate_int8(built.network)
        return built.network.train(), built.meta

    def _load_initial(self, weights: Mapping[str, Tensor], network: nn.Module, origin: str, strict: bool) -> None:
        skipped = load_into(network, weights, origin, strict)
        if skipped:
            self.notices.append(skipped)

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> type[training_task.Task]:
        # BasicSR's option files have `model_type` where srkd's recipes have `task`.
        kind = data.get("model_type")
        if "task" not in data and kind in ("SRGANModel", "ESRGANModel"):
            return training_task.find("sr.gan").of(data)
        return cls

    def setup(self, fabric: Fabric) -> None:
        self._prepare(fabric)
        self._dry_run(self.network_g, self.objective)
        step = Step(self.network_g, self.objective)
        optimiser = make_optimiser(step.parameters(), self.recipe.train.optim_g)
        wrapped_step, wrapped = fabric.setup(step, optimiser)
        # Not a submodule: its parameters are already those of network_g and the objective.
        object.__setattr__(self, "_step", wrapped_step)
        self.optimisers = {"g": wrapped}

    def _prepare(self, fabric: Fabric) -> None:
        """Read the images, load the teacher, and select the source of batches and teacher predictions."""
        recipe, train = self.recipe, self.recipe.train
        self.fabric, self.device = fabric, fabric.device
        self.images = training_images(recipe.datasets.train, recipe.scale)
        self.notices += missing_lists([recipe.datasets.train, *recipe.datasets.validation()])
        self.patches = self._patches(fabric.world_size)
        usable = patches.usable(self.images, self.patches.gt_size, recipe.scale, recipe.datasets.train.skip_small)
        self.teacher_network = self._load_teacher()
        network = None if self.teacher_network is None else self.teacher_network.network
        self.objective.resolve_taps(self.network_g, network)
        if train.channels_last:
            self.network_g.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network_g.to(self.device)
        self.source, self.teacher = self._predictions(patches.Subset(self.images, usable))
        self.epoch_steps = math.ceil(len(usable) / self.patches.batch)
        self.validator = validation.Validator(recipe, fabric.is_global_zero)

    def _patches(self, world: int) -> patches.Patches:
        train = self.recipe.datasets.train
        return patches.Patches(
            train.gt_size,
            train.batch_size_per_gpu * world,
            self.recipe.scale,
            train.use_hflip,
            train.use_rot,
            train.sampling,
            self.recipe.manual_seed,
        )

    def _load_teacher(self) -> Model | None:
        spec, path = self.recipe.network_g_teacher, self.recipe.path.pretrain_network_g_teacher
        if not self.objective.needs_teacher:
            if spec is not None:
                self.notices.append("no loss uses the teacher: it is not loaded")
            return None
        if spec is None and path is None:
            names = ", ".join(term.name for term in self.objective.terms if term.against == "teacher")
            raise SrkdError(f"{names}: compares with a teacher, but the recipe has no network_g_teacher")
        teacher = build_or_load(spec or {"file": path}, self.recipe.scale, "network_g_teacher")
        if path is not None and spec is not None:
            load_into(teacher.network, read_weights(path, self.recipe.scale), path)
        elif spec is not None and "type" in spec:
            raise SrkdError("network_g_teacher has random weights: give path.pretrain_network_g_teacher, zoo or file")
        if self.recipe.train.channels_last:
            teacher.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        teacher.network.to(self.device)
        return teacher

    def _predictions(self, images: patches.Subset) -> tuple[patches.BatchSource, Teacher]:
        """The source of batches and the teacher, according to the recipe's cache."""
        cache, teacher = self.recipe.cache, self.teacher_network
        kind = cache.kind
        if kind == "auto":
            privileged = teacher is not None and hasattr(teacher.network, "privileged")
            kind = "live" if teacher is None or privileged or self.objective.teacher_taps else "outputs"
        if kind == "outputs" and teacher is None:
            kind = "live"
        if kind == "outputs" and self.objective.teacher_taps:
            raise SrkdError(
                f"cache.kind outputs contains no features, but losses use {', '.join(self.objective.teacher_taps)}; "
                "use bank or live"
            )
        arguments = (kind, teacher, self.objective.teacher_taps, images, self.images.fingerprint, self.patches, cache)
        if kind != "live" and not self.dry_run:
            return cached_source(*arguments, self.fabric), CachedTeacher()
        if kind != "live":
            check_cache(*arguments)
        live = CachedTeacher() if teacher is None else LiveTeacher(teacher.network, self.objective.teacher_taps)
        return patches.PatchSource(images, self.patches), live

    def _dry_run(self, network: nn.Module, objective: Objective) -> None:
        """One step without an update, which builds the losses' learned parts and finds mistakes before training."""
        batch = self.batch(0)
        step = Step(network, objective)
        with self.autocast(0, self.device):
            with one_line_errors(f"network_g on a batch of LR patches {tuple(batch['lr'].shape)}"):
                student = step.predict(batch)
            with one_line_errors("the teacher"):
                teacher = self.teacher(batch)
        assert student.output is not None
        if student.output.shape != batch["hr"].shape:
            expected, found = tuple(batch["hr"].shape[-2:]), tuple(student.output.shape[-2:])
            raise SrkdError(
                f"network_g returns {found} for a patch whose HR is {expected}: is its scale {self.recipe.scale}?"
            )
        parameters = [p for p in network.parameters() if p.requires_grad]
        with one_line_errors("train.losses"):
            objective.dry_run(student, teacher, batch["hr"], self._context(batch, 0), parameters)
        network.zero_grad(set_to_none=True)
        self.validator.dry_run(network)

    def _context(self, batch: Mapping[str, Any], step: int) -> dict[str, Any]:
        progress = step / self.recipe.train.total_iter
        return {"lr": batch["lr"], "hr": batch["hr"], "index": batch["index"], "step": step, "progress": progress}

    def batch(self, number: int) -> dict[str, Any]:
        arrays = self.source.draw(number, self.fabric.global_rank, self.fabric.world_size)
        return patches.to_batch(arrays, self.device)

    def steps(self, batch: dict[str, Any], step: int) -> Iterator[tuple[Tensor, Optimizer]]:
        with self.autocast(step, self.device):
            _, total, values = self._step(batch, self.teacher(batch), self._context(batch, step))
        self.log = {f"l_{name}": value.detach() for name, value in values.items()}
        every = self.recipe.train.monitor_freq
        if every and (step + 1) % every == 0:
            parameters = [p for p in self.network_g.parameters() if p.requires_grad]
            self.log.update(self.objective.monitor(values, parameters))
        yield total, self.optimisers["g"]

    def trained(self) -> dict[str, nn.Module]:
        return {"net_g": self.network_g}

    def weights(self, name: str) -> dict[str, Tensor]:
        return without_ranges(folded(self.trained()[name]))

    def on_stage(self, number: int, previous: dict[str, Tensor] | None) -> None:
        widened = any(".parametrizations." in key for key in previous or {})
        if previous is not None and widened != self.recipe.train.reparameterise:
            raise SrkdError("train.reparameterise must be the same in every stage")
        super().on_stage(number, previous)

    @property
    def epoch_length(self) -> int:
        return self.epoch_steps

    @property
    def validate_every(self) -> int:
        return self.recipe.val.val_freq

    def _scores(self) -> dict[str, bool]:
        """Names of the validation scores, and whether higher is better."""
        sets = self.recipe.datasets.validation()
        return {
            f"{metric}_{spec.name}": settings.higher
            for spec in sets
            for metric, settings in self.recipe.val.metrics.items()
        }

    def best_tracker(self) -> Best | None:
        val, scores = self.recipe.val, self._scores()
        if val.patience and not (scores and val.val_freq):
            raise SrkdError("val.patience: needs val.val_freq and a validation set with metrics")
        if val.best is not None and val.best not in scores:
            raise unknown("score in val.best", val.best, scores)
        if not scores or not val.val_freq:
            return None
        name = val.best or next(iter(scores))
        return Best(name, scores[name], val.patience)

    def validate(self, step: int, folder: Path) -> dict[str, float]:
        return self.validator.score(self.network_g, step, folder)

    def settings(self) -> dict[str, Any]:
        found = super().settings()
        if "type" not in self.recipe.network_g:  # a checkpoint: its path does not affect results
            del found["network_g"]
        return found

    @property
    def global_batch(self) -> int:
        return self.patches.batch

    @classmethod
    def shared_settings(cls, tasks: Sequence[training_task.Task]) -> dict[str, Any]:
        """One patch bank for all runs if any of them uses features."""
        taps = {tap for task in tasks if isinstance(task, Task) for tap in task.objective.teacher_taps}
        return {"cache": {"kind": "bank", "taps": sorted(taps)}} if taps else {}

    @classmethod
    def check_sets(cls, sets: Sequence[str]) -> None:
        from srkd.metrics.evaluation import count, of_study

        count(["the student"], [of_study(text)[0] for text in sets])

    @classmethod
    def item_scores(cls, result: Mapping[str, Any], sets: Sequence[str]) -> dict[str, training_task.SetScores]:
        """Scores of each image with the standard SR protocol; without sets, the means of the last validation.

        A set may specify its metrics: `Set5@psnr,ssim,niqe`; the default is PSNR and SSIM.
        """
        if not sets:
            return super().item_scores(result, sets)
        from srkd.metrics.evaluation import item_scores

        return item_scores([result["models"]["net_g"]], sets)

    @classmethod
    def report_sections(cls, recipe: SRRecipe, result: Mapping[str, Any]) -> list[PageSection]:
        """The trained network and bicubic on the recipe's validation sets: scores, images, details."""
        from srkd.sr.report import run_sections

        return run_sections(recipe, result["models"])

    @classmethod
    def comparison_sections(cls, models: Mapping[str, str], sets: Sequence[str]) -> list[PageSection]:
        """Details of each set's first image."""
        from srkd.metrics.evaluation import of_study
        from srkd.sr import report

        return report.comparison_sections(models, [of_study(text)[0] for text in sets])

    def fingerprint(self) -> dict[str, str]:
        teacher = self.teacher_network
        return {
            "the training images": self.images.fingerprint,
            **({} if teacher is None else {"the teacher": network_hash(teacher.network)}),
        }

    def meta(self, name: str) -> dict[str, Any]:
        teacher = self.teacher_network
        return {
            **self._network_meta,
            "scale": self.recipe.scale,
            "colour": "RGB in [0, 1]",
            "lineage": {
                "recipe": self.recipe.name,
                "seed": self.recipe.manual_seed,
                "steps": self.recipe.train.total_iter,
                "data": self.images.fingerprint,
                "teacher": None if teacher is None else teacher.name,
            },
        }

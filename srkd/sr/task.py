"""Super-resolution, supervised or distilled: one network trained with a weighted list of losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srkd.data import patches
from srkd.distill.teachers import Prediction, Teacher
from srkd.errors import SrkdError, check_all, unknown
from srkd.inference.checkpoints import build_or_load, read_weights
from srkd.networks.quantisation_aware import imitate_int8, without_ranges
from srkd.networks.reparameterise import NAME as BRANCHES
from srkd.networks.reparameterise import folded, widen
from srkd.report.html import PageSection
from srkd.sr import validation
from srkd.sr.recipe import SRRecipe
from srkd.sr.teachers import Member, Teachers
from srkd.sr.training_images import missing_lists, training_images
from srkd.training import task as training_task
from srkd.training.best import Best
from srkd.training.checkpoint import load_into
from srkd.training.distillation import DistillationTask


class Task(DistillationTask):
    """The task `sr`: BasicSR's SRModel, and distillation from teachers."""

    recipe_type = SRRecipe
    method_data = frozenset({"zoomed"})  # a teacher's labels of the same images, enlarged
    recipe: SRRecipe
    input, target, network_key, optim_key, optimiser = "lr", "hr", "network_g", "optim_g", "g"

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> type[training_task.Task]:
        # BasicSR's option files have `model_type` where srkd's recipes have `task`.
        kind = data.get("model_type")
        if "task" not in data and kind in ("SRGANModel", "ESRGANModel"):
            return training_task.find("sr.gan").of(data)
        if "task" not in data and kind in ("RealESRNetModel", "RealESRGANModel"):
            return training_task.find("sr.real_esrgan").of(data)
        return cls

    def prepare(self) -> None:
        check_all(self.build_student, self.read_images, self._read_validation_sets)

    def losses(self) -> list[dict[str, Any]]:
        return self.recipe.train.all_losses()

    def build_student(self) -> None:
        self.network_g, self._network_meta = self.generator(self.recipe.network_g)
        self.to_device(self.network_g)

    def generator(self, spec: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
        """A network to train, with pre-trained weights if the recipe gives any, and its description."""
        path, train = self.recipe.path, self.recipe.train
        built = build_or_load(spec, self.recipe.scale, "network_g")
        if path.pretrain_network_g:
            scale = self.recipe.scale if path.strict_load_g else None
            weights = read_weights(path.pretrain_network_g, scale, path.param_key_g)
            self.load_initial(weights, built.network, path.pretrain_network_g, path.strict_load_g)
        if train.reparameterise:
            widen(built.network)
        if train.quantisation_aware:
            if train.reparameterise:
                raise SrkdError("train.quantisation_aware needs plain convolutions: set train.reparameterise to false")
            imitate_int8(built.network)
        return built.network.train(), built.meta

    def load_initial(self, weights: Mapping[str, Tensor], network: nn.Module, origin: str, strict: bool) -> None:
        skipped = load_into(network, weights, origin, strict)
        if skipped:
            self.notices.append(skipped)

    def to_device(self, network: nn.Module) -> None:
        if self.recipe.train.channels_last:
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        network.to(self.device)

    def read_images(self) -> None:
        spec, scale = self.recipe.datasets.train, self.recipe.scale
        self.open_images(scale)
        self.usable = patches.Subset(self.images, patches.usable(self.images, spec.gt_size, scale, spec.skip_small))

    def open_images(self, scale: int) -> None:
        """Open the training images, with LR of 1/scale of their size."""
        spec, seed = self.recipe.datasets.train, self.recipe.manual_seed
        self.images = training_images(spec, scale)
        self.notices += missing_lists([spec, *self.recipe.datasets.validation()])
        batch, turns = spec.batch_size_per_gpu * self.fabric.world_size, (spec.use_hflip, spec.use_rot)
        self.patches = patches.Patches(spec.gt_size, batch, self.recipe.scale, *turns, spec.sampling, seed)

    def _read_validation_sets(self) -> None:
        self.validator = validation.Validator(self.recipe, self.fabric.is_global_zero)

    def given_teacher(self) -> Any:
        path = self.recipe.path.pretrain_network_g_teacher
        return {"file": path} if self.recipe.network_g_teacher is None and path else self.recipe.network_g_teacher

    def make_teacher(self) -> Teacher:
        specs, members = self.teacher_specs(), list[Member]()

        def load(number: int) -> None:
            key = "network_g_teacher" if len(specs) == 1 else f"network_g_teacher[{number + 1}]"
            members.append(self._member(*specs[number], key))

        check_all(*(partial(load, number) for number in range(len(specs))))
        if any(member.self_ensemble for member in members):
            self.require_outputs("which self_ensemble does not average: remove it")
        self.objective.resolve_taps(self.network_g, members[0].loaded.network if len(members) == 1 else None)
        zoomed = self.recipe.datasets.train.zoomed
        return self._with_source(Teachers(members, self.objective.teacher_taps, self.recipe.cache, zoomed))

    def no_teacher(self) -> Teacher:
        return self._with_source(Teachers([], [], self.recipe.cache, self.recipe.datasets.train.zoomed))

    def _with_source(self, teachers: Teachers) -> Teacher:
        """Select the source of batches; returns the teacher for them."""
        self.teachers = teachers
        arguments = (self.usable, self.images.fingerprint, self.patches, self.fabric, self.dry_run)
        self.source, teacher = teachers.source(*arguments)
        return teacher

    def _member(self, spec: dict[str, Any], share: float, key: str) -> Member:
        """One of the teachers with its weights. `key` names it in errors."""
        path, single = self.recipe.path.pretrain_network_g_teacher, key == "network_g_teacher"
        self_ensemble = spec.pop("self_ensemble", False)
        if not isinstance(self_ensemble, bool):
            raise SrkdError(f"{key}.self_ensemble: must be true or false, got {self_ensemble!r}")
        self_ensemble = self_ensemble or self.recipe.cache.self_ensemble
        options = dict(spec) if "type" in spec else {}
        loaded = build_or_load(spec, self.recipe.scale, key)
        if path is not None and not single:
            raise SrkdError("path.pretrain_network_g_teacher: the weights of one teacher: give each its file or zoo")
        if path is not None and self.recipe.network_g_teacher is not None:
            load_into(loaded.network, read_weights(path, self.recipe.scale), path)
        elif "type" in spec:
            raise SrkdError(f"{key} has random weights: give {'path.pretrain_network_g_teacher, ' * single}zoo or file")
        if self_ensemble and hasattr(loaded.network, "privileged"):
            raise SrkdError(f"{key}.self_ensemble: not for a network that sees the ground truth; remove it")
        self.to_device(loaded.network)
        return Member(loaded, share, self_ensemble, options)

    def check_output(self, student: Prediction, batch: Mapping[str, Any]) -> None:
        assert student.output is not None
        if student.output.shape != batch["hr"].shape:
            expected, found = tuple(batch["hr"].shape[-2:]), tuple(student.output.shape[-2:])
            raise SrkdError(
                f"network_g returns {found} for a patch whose HR is {expected}: is its scale {self.recipe.scale}?"
            )

    def check_validation(self, network: nn.Module) -> None:
        check_all(self.best_tracker, partial(self.validator.dry_run, network))

    def batch(self, number: int) -> dict[str, Any]:
        arrays = self.source.draw(number, self.fabric.global_rank, self.fabric.world_size)
        return patches.to_batch(arrays, self.device)

    def trained(self) -> dict[str, nn.Module]:
        return {"net_g": self.network_g}

    def weights(self, name: str) -> dict[str, Tensor]:
        return without_ranges(folded(self.trained()[name]))

    def on_stage(self, number: int, previous: dict[str, Tensor] | None) -> None:
        own = [key for key in previous or {} if key.startswith(self.network_key)]
        widened = any(f".{BRANCHES}." in key for key in own)
        if previous is not None and widened != self.recipe.train.reparameterise:
            raise SrkdError("train.reparameterise must be the same in every stage")
        super().on_stage(number, previous)

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
        """One patch bank for all runs if any of them uses features. The dry runs before it need no cache, and no zoomed
        inputs, which only a cache has."""
        if not tasks:
            return {"cache": {"kind": "live"}, "datasets": {"train": {"zoomed": 0.0}}}
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
        teacher = self.teachers.identity
        return {"the training images": self.images.fingerprint} | ({"the teacher": teacher} if teacher else {})

    def scored_on(self) -> str | None:
        sets = {name: images.fingerprint for name, images in self.validator.sets.items()}
        return ", ".join(f"{name} {fingerprint}" for name, fingerprint in sets.items()) or None

    def meta(self, name: str) -> dict[str, Any]:
        lineage = {**self.lineage(self.teachers.name), "data": self.images.fingerprint}
        return {**self._network_meta, "scale": self.recipe.scale, "colour": "RGB in [0, 1]", "lineage": lineage}

"""The task `imitation`: a student learns a teacher's outputs on a bank of degraded patches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from srkd.data.degraded import DegradedPatches, Plan
from srkd.distill.teachers import CachedTeacher
from srkd.errors import SrkdError
from srkd.imitation.bank import Bank
from srkd.imitation.held_out import HeldOut
from srkd.imitation.recipe import ImitationRecipe
from srkd.imitation.source import ImitationSource
from srkd.imitation.teachers import OutputTeacher, open_teacher
from srkd.report.html import PageSection
from srkd.sr import gan, validation
from srkd.sr.degradation_options import levels
from srkd.sr.recipe import Datasets
from srkd.sr.training_images import missing_lists, training_images
from srkd.training import task as training_task
from srkd.training.log import Progress
from srkd.training.run import say

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Task(gan.Task):
    """Training as in `sr.gan`, on batches of the bank's patches.

    The teacher is whatever upscales images: it never runs during training, and no ground truth is needed. A loss may
    compare with the ground truth (`target: gt`), which is then cut from the photographs. With `gan_opt` the
    discriminator's real images are the teacher's outputs. Validation compares with the teacher's outputs as well.

    The teacher may have a multiple of the student's scale: its outputs are then shrunk.
    """

    recipe_type = ImitationRecipe
    recipe: ImitationRecipe
    dry_run_settings = {}

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> type[training_task.Task]:
        return cls

    def _prepare(self, fabric: Fabric) -> None:
        recipe = self.recipe
        self.fabric, self.device, self.teacher_network = fabric, fabric.device, None
        self.images = training_images(recipe.datasets.train, self.output_teacher.scale)
        self.notices += missing_lists([recipe.datasets.train, *recipe.datasets.validation()])
        if any(term.teacher_at for term in self.objective.terms if term.against == "teacher"):
            raise SrkdError("train.losses: in an imitation only the teacher's outputs are known, not its features")
        self.objective.resolve_taps(self.network_g, None)
        self._to_device(self.network_g)
        self.patches = self._patches(fabric.world_size)
        self.bank = self._bank()
        self.bank.check()
        self.source, self.teacher = self._source(), CachedTeacher()
        self.epoch_steps = max(1, recipe.bank.patches // self.patches.batch)
        self.validator_recipe = self._validated()
        self.validator = validation.Validator(self.validator_recipe, fabric.is_global_zero)

    @cached_property
    def output_teacher(self) -> OutputTeacher:
        """The recipe's teacher.

        Raises:
            SrkdError: it has none, or its scale is not a multiple of the recipe's.
        """
        return _open(self.recipe)

    def _bank(self) -> Bank:
        options, train = self.recipe.bank, self.recipe.datasets.train
        plan = Plan(
            options.lr_size, self.output_teacher.scale, levels(self.recipe, train), train.sampling, seed=options.seed
        )
        folder = None if options.dir is None else Path(options.dir)
        patches = DegradedPatches(self.images, plan)
        return Bank(patches, self.output_teacher, self.images.fingerprint, options.patches, folder, options.max_bytes)

    def _source(self) -> ImitationSource:
        """Batches from the bank, which the first process builds; in a dry run, from a single patch."""
        bank, needs_truth = self.bank, any(term.against == "target" for term in self.objective.terms)
        hr = bank.patches.hr if needs_truth else None
        if bank.missing() and self.fabric.is_global_zero:
            say(bank.cost())
        if self.dry_run and bank.missing():
            return ImitationSource(
                [np.repeat(bank.rows(0, 1), self.patches.batch)], self.patches.batch, self.patches, hr
            )
        if self.fabric.is_global_zero:
            with Progress("bank", bank.count, quiet=not bank.missing()) as progress:
                bank.build(progress.update, self.deadline)
        self.fabric.barrier()
        return ImitationSource(bank.open(), bank.count, self.patches, hr)

    def _validated(self) -> ImitationRecipe:
        """The recipe with its held-out sets as folders of inputs and the teacher's outputs; in a dry run, without."""
        if self.dry_run:
            return with_held_out(self.recipe, {})
        sets = held_out(self.recipe, self.output_teacher)
        if self.fabric.is_global_zero:
            for found in sets.values():
                with Progress(f"held-out set {found.spec.name}", len(found.images)) as progress:
                    found.build(progress.update, self.deadline)
        self.fabric.barrier()
        return with_held_out(self.recipe, sets)

    def batch(self, number: int) -> dict[str, Any]:
        batch = super().batch(number)
        return {"hr": batch["teacher_output"], **batch}

    def real_images(self, batch: Mapping[str, Any]) -> torch.Tensor:
        real: torch.Tensor = batch["teacher_output"]
        return real

    def fingerprint(self) -> dict[str, str]:
        return {**super().fingerprint(), "the teacher": self.output_teacher.digest}

    def meta(self, name: str) -> dict[str, Any]:
        meta = super().meta(name)
        uses = self.objective.needs_teacher or self.recipe.train.gan_opt is not None
        meta["lineage"]["teacher"] = self.output_teacher.name if uses else None
        return meta

    @classmethod
    def report_sections(cls, recipe: Any, result: Mapping[str, Any]) -> list[PageSection]:
        """The student and bicubic on the held-out sets, compared with the teacher's outputs."""
        sets = held_out(recipe, _open(recipe))
        return super().report_sections(with_held_out(recipe, sets), result)


def _open(recipe: ImitationRecipe) -> OutputTeacher:
    if recipe.network_g_teacher is None:
        raise SrkdError("an imitation needs network_g_teacher: {zoo: name} or {file: path}")
    teacher = open_teacher(recipe.network_g_teacher)
    if teacher.scale % recipe.scale:
        raise SrkdError(
            f"network_g_teacher: {teacher.name} upscales by {teacher.scale}, which is not a multiple of the scale "
            f"{recipe.scale}"
        )
    return teacher


def held_out(recipe: ImitationRecipe, teacher: OutputTeacher) -> dict[str, HeldOut]:
    """The held-out sets of a recipe by their key."""
    parent = None if recipe.bank.dir is None else Path(recipe.bank.dir)
    degraded, seed = levels(recipe, recipe.datasets.train), recipe.bank.seed
    return {
        name: HeldOut(spec, teacher, recipe.scale, degraded, seed, parent)
        for name, spec in recipe.datasets.held_out().items()
    }


def with_held_out(recipe: ImitationRecipe, sets: Mapping[str, HeldOut]) -> ImitationRecipe:
    """A copy of the recipe whose validation sets are these."""
    found = {name: each.val_set for name, each in sets.items()}
    return recipe.model_copy(update={"datasets": Datasets(train=recipe.datasets.train, **found)})

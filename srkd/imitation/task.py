"""The task `imitation`: a student learns a teacher's outputs on a bank of degraded patches."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from srkd.data.degraded import CropPlan, DegradedPatches
from srkd.distill.teachers import CachedTeacher, Teacher
from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.imitation.bank import Bank
from srkd.imitation.held_out import HeldOut
from srkd.imitation.recipe import ImitationRecipe, ImitationValSet
from srkd.imitation.source import ImitationSource
from srkd.imitation.teachers import OutputTeacher, open_teacher
from srkd.report.html import PageSection
from srkd.sr import gan
from srkd.sr.degradation_options import levels
from srkd.sr.recipe import Datasets
from srkd.sr.teachers import Teachers
from srkd.sr.validation import Validator
from srkd.training import task as training_task
from srkd.training.log import Progress
from srkd.training.processes import say


class Task(gan.Task):
    """Training as in `sr.gan`, on batches of the bank's patches.

    The teacher is whatever upscales images: it never runs during training, and no ground truth is needed. A loss may
    compare with the ground truth (`target: gt`), which is then cut from the photographs. With `gan_opt` the
    discriminator's real images are the teacher's outputs. Validation compares with the teacher's outputs as well.

    The teacher may have a multiple of the student's scale: its outputs are then shrunk.
    """

    recipe_type = ImitationRecipe
    recipe: ImitationRecipe

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> type[training_task.Task]:
        return cls

    @cached_property
    def output_teacher(self) -> OutputTeacher:
        """The recipe's teacher."""
        return recipe_teacher(self.recipe)

    def read_images(self) -> None:
        self.open_images(self.output_teacher.scale)
        self.bank = self._bank()
        self.bank.check()

    def _bank(self) -> Bank:
        options, train = self.recipe.bank, self.recipe.datasets.train
        degraded = levels(self.recipe, train)
        plan = CropPlan(options.lr_size, self.output_teacher.scale, degraded, train.sampling, seed=options.seed)
        folder = None if options.dir is None else Path(options.dir)
        patches = DegradedPatches(self.images, plan)
        return Bank(patches, self.output_teacher, self.images.fingerprint, options.patches, folder, options.max_bytes)

    def _read_validation_sets(self) -> None:
        """Make the held-out sets, inputs and the teacher's outputs; a dry run has none."""
        sets = {} if self.dry_run else held_out(self.recipe, self.output_teacher)
        if self.fabric.is_global_zero:
            for found in sets.values():
                with Progress(f"held-out set {found.spec.name}", len(found.images), quiet=found.complete) as progress:
                    found.build(progress.update, self.deadline)
                where = printable_path(found.folder)
                self.notices.append(f"held-out set {found.spec.name}: inputs and the teacher's outputs are in {where}")
        self.fabric.barrier()
        self.validator = Validator(with_held_out(self.recipe, sets), self.fabric.is_global_zero)

    def read_teacher(self) -> Teacher:
        self.require_outputs("but an imitation has a bank of outputs only")
        self.objective.resolve_taps(self.network_g, None)
        self.teachers = Teachers([], [], self.recipe.cache)
        self.source = self._source()
        return CachedTeacher()

    def _source(self) -> ImitationSource:
        """Batches from the bank, which the first process builds; in a dry run, from a single patch."""
        bank = self.bank
        hr = bank.patches.hr if any(term.against == "target" for term in self.objective.terms) else None
        missing = bool(bank.missing())
        if missing and self.fabric.is_global_zero:
            say(bank.cost())
        if missing and self.dry_run:
            one, size = bank.rows(0, 1), self.patches.batch
            return ImitationSource([np.repeat(one, size)], min(size, bank.count), self.patches, hr)
        if missing and self.fabric.is_global_zero:
            with Progress("bank", bank.count) as progress:
                bank.build(progress.update, self.deadline)
        self.fabric.barrier()
        return ImitationSource(bank.open(), bank.count, self.patches, hr)

    def batch(self, number: int) -> dict[str, Any]:
        batch = super().batch(number)
        return {"hr": batch["teacher_output"], **batch}

    def real_images(self, batch: Mapping[str, Any]) -> Tensor:
        real: Tensor = batch["teacher_output"]
        return real

    def fingerprint(self) -> dict[str, str]:
        return {**super().fingerprint(), "the teacher": self.output_teacher.digest}

    def meta(self, name: str) -> dict[str, Any]:
        meta = super().meta(name)
        if self.objective.needs_teacher or self.recipe.train.gan_opt is not None:
            meta["lineage"]["teacher"] = self.output_teacher.name
        return meta

    @classmethod
    def report_sections(cls, recipe: Any, result: Mapping[str, Any]) -> list[PageSection]:
        """The student and bicubic on the held-out sets, compared with the teacher's outputs."""
        return super().report_sections(with_held_out(recipe, held_out(recipe, recipe_teacher(recipe))), result)


def recipe_teacher(recipe: ImitationRecipe) -> OutputTeacher:
    """The teacher of a recipe.

    Raises:
        SrkdError: it has none or several, or as `open_teacher`.
    """
    spec = recipe.network_g_teacher
    if not isinstance(spec, Mapping):
        raise SrkdError("an imitation needs one network_g_teacher: {zoo: name} or {file: path}")
    return open_teacher(spec, student_scale=recipe.scale)


def held_out(
    recipe: ImitationRecipe, teacher: OutputTeacher, specs: Mapping[str, ImitationValSet] | None = None
) -> dict[str, HeldOut]:
    """The held-out sets of a recipe by their key, or others degraded in the same way."""
    parent = None if recipe.bank.dir is None else Path(recipe.bank.dir)
    degraded, seed = levels(recipe, recipe.datasets.train), recipe.bank.seed
    return {
        name: HeldOut(spec, teacher, recipe.scale, degraded, seed, parent)
        for name, spec in (recipe.datasets.held_out() if specs is None else specs).items()
    }


def with_held_out(recipe: ImitationRecipe, sets: Mapping[str, HeldOut]) -> ImitationRecipe:
    """A copy of the recipe whose validation sets are these."""
    found: dict[str, Any] = {name: each.val_set for name, each in sets.items()}
    return recipe.model_copy(update={"datasets": Datasets(train=recipe.datasets.train, **found)})

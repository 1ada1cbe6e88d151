"""The study file: a base recipe, variants of its losses, and seeds; and from it the recipe of each run."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic

from srkd.distill.objective import parse_terms
from srkd.errors import SrkdError
from srkd.studies.statistics import MIN_SEEDS
from srkd.training import recipe as recipes
from srkd.training import task as tasks
from srkd.training.recipe import Name, Section, Seed

CONTROL = "control"
_SEED = "{seed}"
_FIXED = ("name.", "manual_seed.", "train.losses.")  # keys that the study itself gives each run
_MONITORED = 20  # number of gradient measurements per run, unless the base recipe sets it


class Variant(Section):
    """What distinguishes one variant."""

    name: Name = pydantic.Field(pattern=r"^\w[\w.+-]*$")
    losses: list[dict[str, Any]]
    stages: list[dict[str, Any]] | None = None
    set: dict[str, Any] = pydantic.Field(
        {}, description="settings over the base recipe, by dotted key; {seed} in a text is the run's seed"
    )

    @pydantic.field_validator("set")
    @classmethod
    def _settable(cls, settings: dict[str, Any]) -> dict[str, Any]:
        train = settings.get("train", {})
        if not isinstance(train, dict):
            raise ValueError("train is a section: set its keys, as in train.clip_grad_norm: 1.0")
        keys = [*settings, *(f"train.{key}" for key in train)]
        if fixed := sorted(key for key in keys if f"{key}.".startswith(_FIXED)):
            raise ValueError(f"{', '.join(fixed)}: the study gives the name, the seed and the losses of each run")
        return settings

    @property
    def by_seed(self) -> bool:
        """Whether settings depend on the seed, such as a teacher trained with the same seed."""
        return _SEED in repr(self.set)


class Study(Section):
    """A study file."""

    name: Name = pydantic.Field(pattern=r"^\w[\w.+-]*$")
    base: dict[str, Any] | str = pydantic.Field(description="the recipe, or its path from the study's folder")
    variants: list[Variant] = pydantic.Field(min_length=1)
    seeds: list[Seed] = pydantic.Field(
        list(range(MIN_SEEDS)), min_length=1, description="fewer than five give no verdict"
    )
    sets: list[str] = pydantic.Field([], description="data sets that finished runs are scored on")
    control_from: str | None = pydantic.Field(
        None,
        description="results of another study, relative to this one's folder, whose runs of the control are this one's",
    )
    lower: list[str] = pydantic.Field(
        [], description="metrics for which lower is better; not needed for those of `srkd evaluate`"
    )
    alpha: float = pydantic.Field(
        0.05, gt=0, lt=1, description="probability of any false verdict, for each set and metric"
    )


def read(path: Path | str) -> Study:
    """Read a study file and its base recipe; a control is added if there is none.

    Raises:
        SrkdError: all mistakes of the file in one line: unknown keys, variants with the same name, a control with a
            teacher, unknown losses or options.
    """
    study, _ = recipes.validate(Study, recipes.read(path), str(path))
    if isinstance(study.base, str):
        study.base = recipes.read(Path(path).parent / study.base)
    if study.control_from is not None:
        study.control_from = str(Path(path).parent / study.control_from)
    if not isinstance(study.base.get("train"), dict):
        raise SrkdError(f"{path}: base is not a recipe: it has no `train` section")
    mistakes = _repeated("variants", [v.name for v in study.variants]) + _repeated("seeds", study.seeds)
    for variant in study.variants:
        try:
            terms = parse_terms(variant.losses)
        except SrkdError as error:
            mistakes.append(f'variant "{variant.name}": {error}')
            continue
        if variant.stages is None and "stages" not in variant.set and _stages_have_losses(study.base):
            mistakes.append(
                f'variant "{variant.name}": every stage of the base sets train.losses, so those of the variant would '
                "have no effect; give it stages of its own"
            )
        against = [term.name for term in terms if term.against == "teacher"]
        if variant.name == CONTROL and against:
            mistakes.append(
                f'variant "{CONTROL}": {", ".join(against)} uses the teacher, which a control does not have'
            )
    if mistakes:
        raise SrkdError(f"{path}: {'; '.join(mistakes)}")
    if CONTROL not in {variant.name for variant in study.variants}:
        study.variants.insert(0, Variant(name=CONTROL, losses=_ground_truth(study.base)))
    return study


def _repeated(what: str, values: list[Any]) -> list[str]:
    repeated = sorted({value for value in values if values.count(value) > 1})
    return [f"{what}: {', '.join(map(str, repeated))} occurs more than once"] if repeated else []


def _stages_have_losses(base: Mapping[str, Any]) -> bool:
    """Whether a recipe has stages, each with losses of its own."""
    stages = base.get("stages") or []
    return bool(stages) and all("losses" in (stage.get("train") or {}) for stage in stages)


def _ground_truth(base: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The base recipe's losses without those that use the teacher."""
    specs = (base.get("train") or {}).get("losses") or []
    return [spec for spec, term in zip(specs, parse_terms(specs), strict=True) if term.against == "target"]


def recipe_of(study: Study, variant: Variant, seed: int) -> dict[str, Any]:
    """The recipe of one run, named after its seed.

    Raises:
        SrkdError: an override of the variant is invalid.
    """
    assert isinstance(study.base, dict)
    total = (study.base.get("train") or {}).get("total_iter")
    every = max(1, total // _MONITORED) if type(total) is int else 1
    monitoring = {"train": {"monitor_freq": every}, "logger": {"print_freq": every, "use_tb_logger": False}}
    data = recipes.merge(monitoring, study.base)
    for key, value in variant.set.items():
        data = recipes.merge(data, _nested(key.split("."), _with_seed(value, seed)))
    data["train"]["losses"] = copy.deepcopy(variant.losses)
    if variant.stages is not None:
        data["stages"] = copy.deepcopy(variant.stages)
    return {**data, "name": f"seed_{seed}", "manual_seed": seed}


def _with_seed(value: Any, seed: int) -> Any:
    """The value with {seed} replaced in every text in it."""
    if isinstance(value, dict):
        return {key: _with_seed(item, seed) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_seed(item, seed) for item in value]
    return value.replace(_SEED, str(seed)) if isinstance(value, str) else value


def _nested(keys: list[str], value: Any) -> Any:
    return {keys[0]: _nested(keys[1:], value)} if keys else value


def task_of(study: Study) -> type[tasks.Task]:
    """The task of the base recipe."""
    assert isinstance(study.base, dict)
    return tasks.find(str(study.base.get("task", "sr")))

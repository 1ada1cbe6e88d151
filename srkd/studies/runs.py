"""Runs of a comparative study. All variants are checked before training; the runs are independent and resumable, and
finished runs are skipped.

A run has the folder `<output>/<study>/<variant>/seed_<n>/` and next to it its result `seed_<n>.json`. Runs that another
machine finished have neither: they are read from a results file.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.executor import Executor, FolderTask
from srkd.files.atomic import write_json
from srkd.files.digest import file_sha256
from srkd.files.lock import locked
from srkd.files.remote import local_folder
from srkd.inference.loading import file_of
from srkd.networks import zoo
from srkd.studies.plan import CONTROL, Study, Variant, recipe_of, task_of
from srkd.studies.recorded import own_runs, shared_control
from srkd.studies.scored import RunSpec, train_and_score
from srkd.training.processes import say
from srkd.training.recipe import merge
from srkd.training.resume import states
from srkd.training.run import Run
from srkd.training.task import Task

_MUST_AGREE = ("datasets", "manual_seed", "cache")  # and the steps, and how many batches make one
# Settings that the records of earlier versions lack.
_WEIGHTS, _SCORED_ON = "initial weights", "scored on"
_NEWER = (_WEIGHTS, _SCORED_ON, "forecasts", "families")


@dataclass
class CheckedVariant:
    """Result of a variant's dry run; `settings` are hashes of everything that its results depend on, by seed.

    `dependencies` are those of each stage's task by seed: of one seed, unless settings depend on it. `steps` are those
    of the last stage, before which others may prepare, and those of all stages, which may share a run's steps. `data`
    are the keys of an adapter's data, in which its methods may differ from the control, such as the share with labels.
    """

    tasks: list[Task]
    dependencies: dict[int, list[dict[str, str]]]
    agreeing: dict[str, Any]
    data: dict[str, Any]
    steps: set[int]
    extra_parameters: int
    settings: dict[int, dict[str, str]] = field(default_factory=dict)


class Comparison:
    """A study and the folder of its runs.

    Args:
        study: from `srkd.studies.plan.read`.
        root: parent folder of the study's folder.
        results: a results file of this study, whose finished runs are not trained again; it need not exist.

    Raises:
        SrkdError: the results file, or the study's `control_from`, is invalid or belongs to another study.
    """

    def __init__(self, study: Study, root: Path | str = "experiments", results: Path | None = None) -> None:
        self.study, self.folder = study, local_folder(root) / study.name
        self.recorded = shared_control(study)
        if results is not None:
            self.read_recorded(results)
        self.task_type = task_of(study)
        self.shared: dict[str, Any] = {}
        self.checked: dict[str, CheckedVariant] = {}
        self.signal = 0  # number of the signal that stopped `train`

    def read_recorded(self, results: Path) -> None:
        """Read the runs of a results file; it need not exist. Raises SrkdError as the constructor does."""
        self.recorded |= own_runs(self.study, results)

    def check(self) -> None:
        """Dry-run all variants, compute the settings common to all runs, and compare with earlier runs.

        Raises:
            SrkdError: one line with all mistakes of all variants: losses, layers, shapes; data, steps or seeds that
                differ from the control's; settings that changed since a run of the variant started.
        """
        mistakes = []
        try:
            self.task_type.check_sets(self.study.sets)
        except SrkdError as error:
            mistakes.append(f"sets: {error}")
        for variant in self.study.variants:
            try:
                self.checked[variant.name] = self._check(variant)
            except SrkdError as error:
                mistakes.append(f'variant "{variant.name}": {error}')
        control = self.checked.get(CONTROL)
        for variant in self.study.variants if control else []:
            found = self.checked.get(variant.name)
            if not (found and control):
                continue
            differ = [key for key, value in control.agreeing.items() if found.agreeing[key] != value]
            differ += [] if found.steps & control.steps else ["train.total_iter"]
            if differ:
                mistakes.append(f'variant "{variant.name}": {", ".join(differ)} must be the same as in the control')
            other = [key for key in control.data | found.data if control.data.get(key) != found.data.get(key)]
            if other:
                say(f'notice: variant "{variant.name}" differs from the control in {", ".join(other)}')
        self.shared = self.task_type.shared_settings([t for c in self.checked.values() for t in c.tasks])
        for variant in (v for v in self.study.variants if v.name in self.checked):
            try:  # the settings common to all runs may not fit this one
                mistakes += self._edited(variant)
            except SrkdError as error:
                mistakes.append(f'variant "{variant.name}": {error}')
        if mistakes:
            raise SrkdError("; ".join(mistakes))

    def _check(self, variant: Variant) -> CheckedVariant:
        first, *others = self.study.seeds
        data = recipe_of(self.study, variant, first)
        built = self._dry_run(variant, data)
        dependencies = {first: self._dependencies(built)}
        for seed in others if variant.by_seed else ():
            dependencies[seed] = self._dependencies(self._dry_run(variant, recipe_of(self.study, variant, seed)))
        stages = [recipe.model_dump(mode="json") for recipe, _ in Run(data, quiet=True).stages]
        agreeing = {key: stages[-1].get(key) for key in _MUST_AGREE}
        train = (agreeing["datasets"] or {}).get("train", {})
        for name in self.task_type.method_data:
            train.pop(name, None)
        agreeing["train.accumulate"] = stages[-1]["train"].get("accumulate")
        counts = [stage["train"]["total_iter"] for stage in stages]
        own = {f"data.{key}": value for key, value in (stages[-1].get("data") or {}).items()}
        own |= {"batch_size": stages[-1].get("batch_size")}
        steps = {counts[-1], sum(counts)}
        return CheckedVariant(built, dependencies, agreeing, own, steps, _extra_parameters(built[-1]))

    def _dependencies(self, tasks: Sequence[Task]) -> list[dict[str, str]]:
        """What each stage's results depend on besides its recipe."""
        found = [task.dependencies() for task in tasks]
        if not self.study.sets and (scored := tasks[-1].scored_on()):
            found[-1][_SCORED_ON] = scored
        return found

    def _dry_run(self, variant: Variant, data: dict[str, Any]) -> list[Task]:
        shared = self.task_type.shared_settings([])
        return Run(merge(data, shared), self.folder / variant.name, quiet=True).dry_run()

    def _settings(self, variant: Variant, seed: int) -> dict[str, str]:
        """Hashes of everything that the results of a variant's run depend on, except its seed."""
        found: dict[str, str] = {}
        stages = Run(merge(recipe_of(self.study, variant, seed), self.shared), quiet=True).stages
        by_seed = self.checked[variant.name].dependencies
        dependencies = by_seed.get(seed, by_seed[self.study.seeds[0]])
        for number, ((recipe, _), own) in enumerate(zip(stages, dependencies, strict=True), 1):
            parts = {**self.task_type(recipe).settings(), **own}
            if weights := _initial_weights(recipe.model_dump(mode="json")):
                parts[_WEIGHTS] = weights
            where = f"stage {number}: " if len(stages) > 1 else ""
            found |= {where + key: _hash(value) for key, value in parts.items() if key != "manual_seed"}
        return found

    def _edited(self, variant: Variant) -> list[str]:
        """Fill in the variant's settings, and return an error for those that changed since one of its runs started."""
        found, common = self.checked[variant.name], None if variant.by_seed else self._settings(variant, 0)
        found.settings = {seed: common or self._settings(variant, seed) for seed in self.study.seeds}
        found.tasks.clear()  # they would keep the networks and images of the whole study in memory
        for seed in self.study.seeds:
            before = self.result(variant.name, seed)
            if before is not None and before["status"] == "begun" and not self._has_states(variant, seed):
                continue
            changed = self._changed(before, found.settings[seed])
            if changed:
                where = self.folder / variant.name
                remedy = f"delete {where}" if self._result_path(variant.name, seed).is_file() else "train it again"
                return [
                    f'variant "{variant.name}": {", ".join(changed)} changed since seed {seed} was trained; restore '
                    f"it, give the variant another name, or {remedy}"
                ]
        return []

    def _changed(self, before: Mapping[str, Any] | None, new: Mapping[str, str]) -> list[str]:
        """The settings that differ from those of a run's result; records of earlier versions lack some, and a run that
        is scored again on other sets may have been scored on anything."""
        if before is None:
            return []
        old = before["settings"]
        free = [_SCORED_ON] if before["sets"] != self.study.sets else []
        changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return [k for k in changed if not k.endswith(tuple(free if k in old else _NEWER))]

    def runs(self, shard: tuple[int, int] = (1, 1), variants: Sequence[str] | None = None) -> list[tuple[Variant, int]]:
        """The runs of shard i of n, seed by seed, so that an interrupted study has complete comparisons.

        Args:
            variants: only of the variants with these names; None: of all.

        Raises:
            SrkdError: the study does not have a variant of this name.
        """
        chosen = [v for v in self.study.variants if variants is None or v.name in variants]
        if unknown := sorted(set(variants or ()) - {variant.name for variant in chosen}):
            names = ", ".join(variant.name for variant in self.study.variants)
            raise SrkdError(f"{self.study.name} has no variant {', '.join(unknown)}; its variants: {names}")
        return [(variant, seed) for seed in self.study.seeds for variant in chosen][shard[0] - 1 :: shard[1]]

    def result(self, variant: str, seed: int) -> dict[str, Any] | None:
        """The result of a run, saved here or recorded by another machine; None if it never started.

        The saved one, unless it is not finished, or was scored on other sets than the study's and the recorded one was
        not."""
        own, recorded = self._saved(variant, seed), self.recorded.get((variant, seed))
        if own is None or recorded is None:
            return own or recorded
        return own if self._standing(own) >= self._standing(recorded) else recorded

    def _standing(self, result: Mapping[str, Any]) -> tuple[bool, bool]:
        """Whether a run is finished, and whether it was scored on the sets of this study."""
        return result["status"] == "finished", result["sets"] == self.study.sets

    def _saved(self, variant: str, seed: int) -> dict[str, Any] | None:
        path = self._result_path(variant, seed)
        if not path.is_file():
            return None
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SrkdError(f"{path}: not a run's result; delete it to train the run again") from error
        return dict(found)

    def _result_path(self, variant: str, seed: int) -> Path:
        return self.folder / variant / f"seed_{seed}.json"

    def train(
        self,
        shard: tuple[int, int] = (1, 1),
        budget: float | None = None,
        quiet: bool = False,
        executor: Executor | None = None,
        variants: Sequence[str] | None = None,
    ) -> bool:
        """Train and score all unfinished runs of a shard. Call `check` first.

        Several processes may do this at once: each skips runs that another process is working on, and waits for them at
        the end.

        Args:
            budget: total seconds; an interrupted run resumes in the next call.
            executor: where the runs are trained at the same time; None: here, one after another.
            variants: only the variants with these names.

        Returns:
            True if all runs were tried, False if the budget or a signal stopped it.
        """
        deadline = None if budget is None else time.monotonic() + budget
        runs = self.runs(shard, variants)
        if executor is not None:
            return self._train_on(executor, runs, budget, quiet)
        locked_runs = self._take(runs, deadline, quiet, wait=False)
        if locked_runs and deadline is None:
            locked_runs = self._take(locked_runs, None, quiet, wait=True)
        return locked_runs == []

    def _take(
        self, runs: list[tuple[Variant, int]], deadline: float | None, quiet: bool, wait: bool
    ) -> list[tuple[Variant, int]] | None:
        """Train the runs; returns those locked by another process, or None if budget or signal stopped it."""
        locked_runs = []
        for number, (variant, seed) in enumerate(runs, 1):
            left = None if deadline is None else deadline - time.monotonic()
            if self._is_finished(variant, seed):
                continue
            if left is not None and left <= 0:
                return None
            with locked(self._run_folder(variant, seed), wait) as free:
                if not free:
                    say(
                        f"run {number} of {len(runs)}: {variant.name}, seed {seed}: another process has it",
                        quiet,
                    )
                    locked_runs.append((variant, seed))
                elif not self._is_finished(variant, seed):  # the other process may have finished it by now
                    say(f"run {number} of {len(runs)}: {variant.name}, seed {seed}", quiet)
                    if not self._run(variant, seed, left, quiet):
                        return None
        return locked_runs

    def _train_on(self, executor: Executor, runs: list[tuple[Variant, int]], budget: float | None, quiet: bool) -> bool:
        """Train the runs by an executor; those locked by another process on this machine are waited for at the end."""
        with ExitStack() as locks:
            mine = [
                run
                for run in runs
                if not self._is_finished(*run) and locks.enter_context(locked(self._run_folder(*run), wait=False))
            ]
            tasks = [FolderTask(self._spec(variant, seed), self._run_folder(variant, seed)) for variant, seed in mine]
            for task in tasks:
                write_json(self._path_of(task.argument), {**task.argument.record, "status": "begun"})
            stopped, ended = False, 0
            for number, result in executor.map(train_and_score, tasks, budget):
                ended += 1
                spec, (variant, seed) = tasks[number].argument, mine[number]
                if isinstance(result, SrkdError):
                    result = {"finished": True, **spec.record, "status": "failed", "error": str(result)}
                stopped = stopped or not self._record(spec, result, quiet)
                say(f"{variant.name}, seed {seed}: {result.get('status', 'stopped')}", quiet)
        if stopped or ended < len(tasks):
            return False
        others = [run for run in runs if run not in mine and not self._is_finished(*run)]
        if others and budget is None:
            self._take(others, None, quiet, wait=True)
            return self.signal == 0
        return not others

    def _run_folder(self, variant: Variant, seed: int) -> Path:
        return self.folder / variant.name / f"seed_{seed}"

    def _has_states(self, variant: Variant, seed: int) -> bool:
        """Whether a run was trained far enough to be resumed; of several, all begin at once, and some wait."""
        folder = self._run_folder(variant, seed)
        return any(states(stage) for stage in (folder, *folder.glob("stage_*")))

    def _is_finished(self, variant: Variant, seed: int) -> bool:
        before = self.result(variant.name, seed)
        return before is not None and all(self._standing(before))

    def _run(self, variant: Variant, seed: int, budget: float | None, quiet: bool) -> bool:
        """Train and score one run; errors are recorded, so that the others continue. Returns False if stopped."""
        spec = self._spec(variant, seed)
        write_json(self._path_of(spec), {**spec.record, "status": "begun"})
        return self._record(spec, train_and_score(spec, self._run_folder(variant, seed), budget, quiet), quiet)

    def _spec(self, variant: Variant, seed: int) -> RunSpec:
        checked = self.checked[variant.name]
        record = {"variant": variant.name, "seed": seed, "settings": checked.settings[seed], "sets": self.study.sets}
        data = merge(recipe_of(self.study, variant, seed), self.shared)
        return RunSpec(data, record, checked.extra_parameters, _task_terms(variant))

    def _path_of(self, spec: RunSpec) -> Path:
        return self._result_path(spec.record["variant"], spec.record["seed"])

    def _record(self, spec: RunSpec, result: dict[str, Any], quiet: bool) -> bool:
        """Save the result of a run; returns False if it stopped before its end."""
        if not result.pop("finished"):
            self.signal = result["signal"]
            return False
        if result["status"] == "failed":
            say(f"{spec.record['variant']}, seed {spec.record['seed']} failed: {result['error']}", quiet)
        write_json(self._path_of(spec), result)
        return True


def _initial_weights(recipe: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of the weights that a recipe's networks start from, by the key that names them."""
    found = {**recipe, **(recipe.get("path") or {})}
    names = {key: name for key, name in found.items() if key.startswith("pretrain_network") and name}
    specs = {key: spec for key, spec in found.items() if key.startswith("network") and isinstance(spec, Mapping)}
    names |= {key: name for key, spec in specs.items() if (name := spec.get("file") or spec.get("zoo"))}
    own = {key: str(name) for key, name in names.items() if not key.endswith("teacher")}
    return {key: file_sha256(_weights_file(name, recipe))[:16] for key, name in own.items()}


def _weights_file(name: str, recipe: Mapping[str, Any]) -> Path:
    if Path(name).is_file():
        return Path(name)
    return file_of(zoo.default_model(recipe["scale"]) if name == "auto" else name)


def _task_terms(variant: Variant) -> list[str]:
    from srkd.distill.objective import parse_terms

    return [term.name for term in parse_terms(variant.losses) if term.is_task]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _extra_parameters(task: Task) -> int:
    """Number of trained parameters that do not belong to the trained networks."""
    network_ids = {id(p) for network in task.trained().values() for p in network.parameters()}
    groups = [group for optimiser in task.optimisers.values() for group in optimiser.param_groups]
    sizes = {id(p): p.numel() for group in groups for p in group["params"]}
    return sum(size for key, size in sizes.items() if key not in network_ids)

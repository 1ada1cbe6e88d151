"""A training, from a recipe to a folder of results.

`experiments/<name>/` contains recipe.yml (resolved), models/, training_states/, metrics.jsonl, tb/ and visualization/;
a recipe with stages has one such folder per stage: stage_1/ and so on.

Read from top to bottom: a `Run` trains its stages one after another; a `_Stage` sets up its task, resumes, and runs the
loop with logging, validation and saving; `train_steps` is the loop itself. What differs between tasks is in the task.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from srkd.errors import SrkdError, one_line_errors, unknown
from srkd.files.atomic import printable_path, write_text
from srkd.files.remote import local_folder
from srkd.interruption import recording
from srkd.training import checkpoint, resume, schedule
from srkd.training import task as tasks
from srkd.training.ema import Ema
from srkd.training.folder import RunFolder
from srkd.training.log import Log, Progress, logged_values, read_metrics
from srkd.training.malloc import keep_freed_memory
from srkd.training.processes import any_process, make_fabric, process_group, say, started
from srkd.training.recipe import Recipe, Train, dump, merge, validate
from srkd.training.task import OutOfTimeError, Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Run:
    """Trains the networks of a recipe.

    Args:
        data: the recipe as read from YAML, with overrides applied.
        root: parent folder of the run's folder `<name>/`.
        resume: continue from the newest intact training state, if any; else from the recipe's `resume_state`; else
            from step 0. Without `resume`, or without a state, an older run of the same name is renamed to
            `<name>_archived_<time>`, unless `resume_state` is its newest state.
        budget: seconds after which training saves its state and stops between two steps; None: no limit.
        quiet: print no progress.
        origin: what errors call the recipe, such as its file.

    Raises:
        SrkdError: all mistakes in the recipe, or a resumed state that does not fit it.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        root: Path | str = "experiments",
        *,
        resume: bool = False,
        budget: float | None = None,
        quiet: bool = False,
        origin: str = "recipe",
    ) -> None:
        self.data: dict[str, Any] = merge(data, {})
        self.task_type = tasks.find(str(self.data.get("task", "sr"))).of(self.data)
        self.recipe, ignored = validate(self.task_type.recipe_type, self.data, origin)
        self.notices = [f"ignored keys without effect: {', '.join(ignored)}"] if ignored else []
        wanted = self.recipe.num_gpu
        if isinstance(wanted, int) and wanted > 1 and wanted != started():
            text = f"num_gpu is {wanted}, but each process uses one GPU: start torchrun --nproc_per_node {wanted}"
            self.notices.append(text)
        self.folder = local_folder(root) / self.recipe.name
        self.resume, self.quiet = resume, quiet
        self.deadline = None if budget is None else time.monotonic() + budget
        self.stages = self._stages()
        if self.recipe.resume_state is not None and len(self.stages) > 1:
            raise SrkdError("path.resume_state: not supported for a run with stages; resume it with --auto_resume")

    def _stages(self) -> list[tuple[Recipe, Path]]:
        if not self.recipe.stages:
            schedule.check(self.recipe.train)
            return [(self.recipe, self.folder)]
        stages = []
        for number, extra in enumerate(self.recipe.stages, 1):
            data = merge(merge(self.data, {"stages": []}), extra)
            recipe, _ = validate(self.task_type.recipe_type, data, f"stages[{number}]")
            schedule.check(recipe.train)
            stages.append((recipe, self.folder / f"stage_{number}"))
        return stages

    def dry_run(self) -> list[Task]:
        """Check every name, shape and path of every stage and try one step of each, without building caches or writing
        files.

        Returns:
            The stages' tasks, after `setup`.
        """
        built = []
        for recipe, folder in self.stages:
            task, fabric = self.set_up_stage(recipe, dry_run=True)
            _try_step(task, recipe.train, fabric)
            self._state(task, recipe, folder)
            self.notices += task.notices
            built.append(task)
        return built

    def set_up(self) -> list[Task]:
        """The stages' tasks after `setup`, which builds whatever they need, such as a teacher's cache."""
        built = [self.set_up_stage(recipe)[0] for recipe, _ in self.stages]
        self.notices += [notice for task in built for notice in task.notices]
        return built

    def set_up_stage(self, recipe: Recipe, dry_run: bool = False) -> tuple[Task, Fabric]:
        """A stage's task after `setup`; in a dry run, `setup` only checks."""
        fabric = make_fabric(recipe)
        random.seed(recipe.manual_seed)
        torch.manual_seed(recipe.manual_seed)
        task = self.task_type(recipe)
        task.dry_run, task.deadline = dry_run, self.deadline
        task.setup(fabric)
        task.best_tracker()
        return task, fabric

    def _state(self, task: Task, recipe: Recipe, folder: Path) -> tuple[Path, dict[str, Any]] | None:
        """The training state from which a stage is resumed, with its path; None: it starts at step 0.

        Raises:
            SrkdError: the state does not fit the recipe, or a later stage has one and this one has none.
        """
        paths = resume.candidates(folder, recipe.resume_state, self.resume)
        if not paths:
            folders = [each for _, each in self.stages]
            if self.resume and any(map(resume.states, folders[folders.index(folder) + 1 :])):
                raise SrkdError(
                    f"{printable_path(folder)}: has no training state, but a later stage has; restore its "
                    "training_states, or train under another name"
                )
            return None
        path, state = resume.newest_intact(paths, lambda text: say(text, self.quiet))
        notice = resume.check(path, state, task, recipe.train)
        self.notices += [notice] if notice else []
        return path, state

    def train(self) -> dict[str, Any]:
        """Train to the end, or until the budget or a signal stops it.

        Returns:
            {"step", "total", "finished", "signal": number of the signal that stopped it, or 0, "metrics": scores of the
            last validation, "models": paths by network name, "precision": of forward passes}, and, if the task tracks a
            best score, "best": {"step", "score", "value", "models"} of the best validation. A run that stopped early is
            finished as well.

        Raises:
            SrkdError: training diverged; the disk is full; another of several processes ended early; another process
                is training in the run's folder, or the folder contains something other than a run.
        """
        keep_freed_memory()
        result: dict[str, Any] = {}
        previous: dict[str, Tensor] | None = None
        self.place = RunFolder(self.folder)
        with process_group(), self.place.locked():
            for number, (recipe, folder) in enumerate(self.stages, 1):
                try:
                    stage = _Stage(self, recipe, folder, number)
                except OutOfTimeError as late:
                    say(str(late), self.quiet)
                    total = recipe.train.total_iter
                    return {"step": 0, "total": total, "finished": False, "signal": 0, "metrics": {}, "models": {}}
                result = stage.train(previous)
                if not result["finished"]:
                    break
                previous = stage.task.state_dict()
        return result

    def create_folder(self) -> None:
        """Create the run's folder, once the first stage has been checked; an older run that is not resumed, perhaps for
        lack of a training state, is renamed, after a dry run of the stages that follow."""
        folders = [folder for _, folder in self.stages]
        resumed = any(resume.belongs_to(self.recipe.resume_state, folder) for folder in folders)
        resumed |= self.resume and (any(map(resume.states, folders)) or not any(map(resume.has_results, folders)))
        moved = self.place.create(resumed, self._check_later_stages)
        if moved is not None:
            say(f"the older run of this name was renamed to {printable_path(moved)}", self.quiet)

    def _check_later_stages(self) -> None:
        """Skipped with several processes, because only the first one gets here."""
        state, python = checkpoint.random_state(), random.getstate()
        for recipe, _ in self.stages[1:] if started() == 1 else []:
            self.set_up_stage(recipe, dry_run=True)
        checkpoint.restore_random_state(state)
        random.setstate(python)


class _Stage:
    """One stage of a run, or a whole run without stages."""

    def __init__(self, run: Run, recipe: Recipe, folder: Path, number: int) -> None:
        self.run, self.recipe, self.folder, self.number = run, recipe, folder, number
        self.task, self.fabric = run.set_up_stage(recipe)
        self.metrics: dict[str, float] = {}
        self.log: Log | None = None
        self._resumed_from: Path | None = None
        self._printed: list[str] = []

    def train(self, previous: dict[str, Tensor] | None) -> dict[str, Any]:
        total, quiet = self.recipe.train.total_iter, self.run.quiet
        self.best = self.task.best_tracker()
        self.task.on_stage(self.number, previous)
        self.ema = self.task.ema = Ema(self.task.trained(), self.recipe.train.ema_decay)
        self.dependencies = self.task.dependencies()
        start = self._resume()
        self._start(start)
        self._check_later(start)
        title = self.recipe.name if len(self.run.stages) == 1 else f"{self.recipe.name}, stage {self.number}"
        hidden = quiet or not self.fabric.is_global_zero
        try:
            with recording() as self.signal, Progress(title, total, start, quiet=hidden) as self.progress:
                done, early = self._loop(start)
            if early:
                assert self.best is not None
                score, value, step = self.best.score, self.best.value, self.best.step
                say(f"stopped at step {done} of {total}: {score} has not improved on {value} since step {step}", quiet)
            elif done < total:
                how = "the same command" if self.run.resume else "--auto_resume"
                say(f"stopped at step {done} of {total}; {how} continues from there", quiet)
            if (early or done == total) and (start < done or not self.metrics):
                if not early:  # an early stop follows a validation
                    self._validate(done)
                self._finish(done)
        finally:
            if self.log is not None:
                self.log.close()
        self.fabric.barrier()
        return self._result(done, early)

    def _loop(self, start: int) -> tuple[int, bool]:
        """Train from step `start`; returns the steps done, and whether validation stopped the training early."""
        logger, train, every = self.recipe.logger, self.recipe.train, self.task.validate_every
        self._logged = self._saved = time.monotonic()
        self._logged_step = done = start
        if self._exhausted():  # already when it was resumed
            return done, True
        for done in train_steps(self.task, train, self.fabric, self.ema, start):
            last = done == train.total_iter
            if last or done % logger.print_freq == 0:
                self._write_values(done)
            self.progress.update(done)
            if last:  # `_finish` saves
                break
            if every and done % every == 0:
                self._validate(done)
                if self._exhausted():
                    return done, True
            stop = self._stopping()
            keep = done % logger.save_checkpoint_freq == 0
            if keep:
                self._save_models(str(done))
            if keep or stop or self._save_due():
                logged_values(self.task, done)  # a diverged state is not saved
                self._save_state(done)
            if stop:
                break
        return done, False

    def _result(self, done: int, early: bool) -> dict[str, Any]:
        total = self.recipe.train.total_iter
        finished = early or done == total
        result = {
            "step": done,
            "total": total,
            "finished": finished,
            "signal": 0 if finished else self.signal(),
            "metrics": self.metrics,
            "models": self._model_paths("latest"),
            "precision": self.task.precision(self.fabric.device),
        }
        if self.best is not None and self.best.value is not None:
            best = {"step": self.best.step, "score": self.best.score, "value": self.best.value}
            result["best"] = {**best, "models": self._model_paths("best")}
        return result

    def _exhausted(self) -> bool:
        return self.best is not None and self.best.patience > 0 and any_process(self.fabric, self.best.exhausted)

    def _stopping(self) -> bool:
        late = self.run.deadline is not None and time.monotonic() > self.run.deadline
        return any_process(self.fabric, bool(self.signal()) or late)

    def _save_due(self) -> bool:
        passed = time.monotonic() - self._saved >= self.recipe.logger.save_state_seconds
        return self.fabric.world_size == 1 and passed

    def _start(self, start: int) -> None:
        """Write the files of a run's start and print its notices."""
        if not self.fabric.is_global_zero:
            return
        self._print_notices()
        if self.number == 1:
            self.run.create_folder()
        write_text(self.folder / "recipe.yml", dump(self.recipe))
        self.log = Log(self.folder, start, self.recipe.logger.use_tb_logger)
        if start == 0:
            # With a state at step 0, a run killed before its first save resumes bit-exactly.
            self._save_state(0)
        recorded: dict[int, dict[str, float]] = {}
        for record in read_metrics(self.folder / "metrics.jsonl"):
            scores = {key.removeprefix("val/"): value for key, value in record.items() if key.startswith("val/")}
            self.metrics = scores or self.metrics
            recorded |= {record["step"]: scores} if scores else {}
        if self.best is not None:
            notice = self.best.restore(recorded, self._model_path(next(iter(self.task.trained())), "best"))
            say(f"notice: {notice}", self.run.quiet or notice is None)

    def _check_later(self, start: int) -> None:
        """Raise SrkdError if this stage would go on although the next one has begun."""
        later = any(resume.states(folder) for _, folder in self.run.stages[self.number :])
        path, unfinished = self._resumed_from, start < self.recipe.train.total_iter
        if path is not None and later and unfinished and not self._exhausted():
            if self.log is not None:
                self.log.close()
            raise SrkdError(f"{path}: the next stage started from this state, so this stage cannot train more steps")

    def _print_notices(self) -> list[str]:
        """Print notices not printed before, and return them; a task may add notices during training."""
        new = [text for text in dict.fromkeys([*self.run.notices, *self.task.notices]) if text not in self._printed]
        for text in new:
            say(f"notice: {text}", self.run.quiet)
        self._printed += new
        return new

    def _write_values(self, done: int) -> None:
        values, now = logged_values(self.task, done), time.monotonic()
        rate = (done - self._logged_step) / max(now - self._logged, 1e-9)
        self._logged, self._logged_step = now, done
        lr = max(group["lr"] for opt in self.task.optimisers.values() for group in opt.param_groups)
        if self.log is not None:
            for notice in self._print_notices():
                self.log.write(done, {"notice": notice})
            self.log.write(done, {**values, "lr": lr, "steps_per_second": round(rate, 3)})
        summary = " ".join(f"{name} {value:.4g}" for name, value in values.items() if "/" not in name)
        self.progress.update(done, summary)

    def _validate(self, done: int) -> None:
        """Score the averaged weights; the random state is restored, so that validation does not affect training."""
        state = checkpoint.random_state()
        self.task.eval()
        with self.ema.swapped(), torch.no_grad():
            self.metrics = self.task.validate(done, self.folder / "visualization")
        self.task.train()
        checkpoint.restore_random_state(state)
        if self.log is not None and self.metrics:
            self.log.write(done, {f"val/{name}": value for name, value in self.metrics.items()})
            summary = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
            say(f"step {done}: {summary}", self.run.quiet)
            if self.best is not None and self.best.score not in self.metrics:
                raise unknown("score in val.best", self.best.score, self.metrics)
            if self.best is not None and self.best.update(done, self.metrics):
                self._save_models("best", step=done)

    def _finish(self, done: int) -> None:
        self._save_models("latest")
        self._save_state(done)

    def _model_paths(self, label: str) -> dict[str, str]:
        return {name: str(self._model_path(name, label)) for name in self.task.trained()}

    def _model_path(self, name: str, label: str) -> Path:
        return self.folder / "models" / f"{name}_{label}.safetensors"

    def _save_models(self, label: str, **more: Any) -> None:
        if not self.fabric.is_global_zero:
            return
        with self.ema.swapped():
            for name in self.task.trained():
                meta = {**self.task.meta(name), "metrics": self.metrics, **more}
                checkpoint.save_weights(self._model_path(name, label), self.task.weights(name), meta)

    def _save_state(self, done: int) -> None:
        if not self.fabric.is_global_zero:
            return
        state = {
            "step": done,
            "task": self.task.state_dict(),
            "optimisers": {name: opt.state_dict() for name, opt in self.task.optimisers.items()},
            "ema": self.ema.state_dict(),
            "random": checkpoint.random_state(),
            "total": self.recipe.train.total_iter,
            "settings": resume.text(self.task.settings()),
            "fingerprint": self.dependencies,
        }
        resume.save(self.folder, state)
        self._saved = time.monotonic()

    def _resume(self) -> int:
        """Load the newest intact state of this stage, if any; returns the step from which training continues."""
        found = self.run._state(self.task, self.recipe, self.folder)
        if found is None:
            return 0
        path, state = found
        self._resumed_from = path
        try:
            self.task.load_state_dict(state["task"])
            for name, optimiser in self.task.optimisers.items():
                _load_optimiser(optimiser, state["optimisers"][name])
            self.ema.load_state_dict(state["ema"])
        except (KeyError, RuntimeError, ValueError) as error:  # from torch, for tensors that do not fit this task
            text = (str(error).splitlines() or [""])[0]
            raise SrkdError(f"{path}: does not fit the networks of this recipe: {text}") from error
        checkpoint.restore_random_state(state["random"])
        return int(state["step"])


def train_steps(task: Task, train: Train, fabric: Fabric, ema: Ema, start: int) -> Iterator[int]:
    """Run steps `start` to `train.total_iter` of a task after `setup`; yields the number of steps done after each."""
    initial = {name: [group["lr"] for group in opt.param_groups] for name, opt in task.optimisers.items()}
    for step in range(start, train.total_iter):
        for name, optimiser in task.optimisers.items():
            for group, lr in zip(optimiser.param_groups, initial[name], strict=True):
                group["lr"] = lr * schedule.factor(step, train, lr)
        batches = [task.batch(step * train.accumulate + k) for k in range(train.accumulate)]
        steps = (_backward(task.steps(batch, step), train, fabric) for batch in batches)
        for optimiser, *_ in zip(*steps, strict=True):
            _update(optimiser, train.clip_grad_norm)
        ema.update(step)
        yield step + 1


def _backward(steps: Iterator[tuple[Tensor, Optimizer]], train: Train, fabric: Fabric) -> Iterator[Optimizer]:
    """Add the gradient of each loss of one of the accumulated batches, and yield its optimiser.

    A batch's backward pass must precede the next one's forward pass: of several forward passes in a row, distributed
    training averages only the first one's gradients over the processes.
    """
    for loss, optimiser in steps:
        fabric.backward(loss / train.accumulate if train.accumulate > 1 else loss)
        yield optimiser


def _update(optimiser: Optimizer, clip: float) -> None:
    if clip:
        clip_grad_norm_([p for group in optimiser.param_groups for p in group["params"]], clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)


def _load_optimiser(optimiser: Optimizer, state: Mapping[str, Any]) -> None:
    """Load an optimiser's state, except for the initial learning rates, which are the recipe's."""
    rates = [group["lr"] for group in optimiser.param_groups]
    optimiser.load_state_dict(dict(state))
    for group, rate in zip(optimiser.param_groups, rates, strict=True):
        group["lr"] = rate


def _try_step(task: Task, train: Train, fabric: Fabric) -> None:
    """Run the first step in which every part of the task trains, then restore the task's state.

    Raises:
        SrkdError: the step fails, or a loss is not finite.
    """
    step = task.first_full_step
    if step >= train.total_iter:
        raise SrkdError(f"some parts train only from step {step + 1} on, but train.total_iter is {train.total_iter}")
    before, notices, random_numbers = copy.deepcopy(task.state_dict()), list(task.notices), checkpoint.random_state()
    optimisers = {name: copy.deepcopy(optimiser.state_dict()) for name, optimiser in task.optimisers.items()}
    with one_line_errors("the first step"):
        done = next(train_steps(task, train, fabric, Ema(task.trained(), train.ema_decay), step))
        logged_values(task, done)
    task.load_state_dict(before)
    for name, optimiser in task.optimisers.items():
        optimiser.load_state_dict(optimisers[name])
    checkpoint.restore_random_state(random_numbers)
    task.notices = notices

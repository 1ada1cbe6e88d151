"""A training run, from a recipe to a folder of results: stages, resuming, saving and logging around the loop.

`experiments/<name>/` contains recipe.yml (resolved), models/, training_states/, metrics.jsonl, tb/ and visualization/;
a recipe with stages has one such folder per stage: stage_1/ and so on.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from srkd.errors import SrkdError, unknown
from srkd.files.atomic import printable_path, write_text, writing
from srkd.files.lock import locked_itself
from srkd.terminal import tell
from srkd.training import checkpoint, resume, schedule
from srkd.training import task as tasks
from srkd.training.dry_run import try_step
from srkd.training.ema import Ema
from srkd.training.log import Log, Progress, read_metrics
from srkd.training.loop import EarlyStop, Stop, Timer, fit, random_state, restore_random_state, stop_on_signals
from srkd.training.malloc import keep_freed_memory
from srkd.training.recipe import Recipe, dump, merge, validate
from srkd.training.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_KEPT_STATES = 2


class Run:
    """Trains the networks of a recipe.

    Args:
        data: the recipe as read from YAML, with overrides applied.
        root: parent folder of the run's folder `<name>/`.
        resume: continue from the newest intact training state, if any; else from the recipe's `resume_state`; else
            from step 0. Without `resume` an older run of the same name is renamed to `<name>_archived_<time>`, unless
            `resume_state` is its newest state.
        budget: seconds after which training saves its state and stops between two steps; None: no limit.
        quiet: print no progress.

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
    ) -> None:
        self.data: dict[str, Any] = merge(data, {})
        self.task_type = tasks.find(str(self.data.get("task", "sr"))).of(self.data)
        self.recipe, ignored = validate(self.task_type.recipe_type, self.data)
        self.notices = [f"ignored keys without effect: {', '.join(ignored)}"] if ignored else []
        wanted, processes = self.recipe.num_gpu, int(os.environ.get("WORLD_SIZE", "1"))
        if isinstance(wanted, int) and wanted > 1 and wanted != processes:
            text = f"num_gpu is {wanted}, but each process uses one GPU: start torchrun --nproc_per_node {wanted}"
            self.notices.append(text)
        self.folder = Path(root) / self.recipe.name
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
        return self.set_up(dry_run=True)

    def set_up(self, dry_run: bool = False) -> list[Task]:
        """Build every stage's task and call its `setup`; a dry run skips whatever takes long."""
        built = []
        for recipe, folder in self.stages:
            fabric = make_fabric(recipe)
            _seed(recipe.manual_seed)
            task = self.task_type(recipe)
            task.dry_run = dry_run
            task.setup(fabric)
            task.best_tracker()
            if dry_run:
                try_step(task, recipe.train, fabric)
                for path, state in _found_state(self, recipe, folder):
                    _check_state(path, state, task, recipe)
            self.notices += task.notices
            built.append(task)
        return built

    def train(self) -> dict[str, Any]:
        """Train to the end, or until the budget or a signal stops it.

        Returns:
            {"step", "total", "finished", "signal": number of the signal that stopped it, or 0, "metrics": scores of the
            last validation, "models": paths by network name}, and, if the task tracks a best score, "best": {"step",
            "score", "value", "models"} of the best validation. A run that stopped early is finished as well.

        Raises:
            SrkdError: training diverged; the disk is full; another of several processes ended early; another process
                is training in the run's folder, or the folder contains something other than a run.
        """
        keep_freed_memory()
        try:
            with self._locked_folder():
                return self._train_stages()
        except RuntimeError as error:
            if torch.distributed.is_initialized() and _is_lost_process(error):
                raise SrkdError(
                    "another process of this training ended early; see its last lines for the reason. --auto_resume "
                    "continues from the last saved state"
                ) from error
            raise
        finally:
            if torch.distributed.is_initialized():
                torch.distributed.destroy_process_group()

    def _train_stages(self) -> dict[str, Any]:
        result: dict[str, Any] = {}
        previous: dict[str, torch.Tensor] | None = None
        for number, (recipe, folder) in enumerate(self.stages, 1):
            stage = _Stage(self, recipe, folder, number)
            result = stage.train(previous)
            if not result["finished"]:
                break
            previous = stage.task.state_dict()
        return result

    def _resumes(self, folder: Path) -> bool:
        """Whether the recipe's `resume_state` is in this folder."""
        named = self.recipe.resume_state
        return named is not None and Path(named).absolute().parent == (folder / "training_states").absolute()

    def states(self, folder: Path) -> list[Path]:
        """The training states from which a stage may be resumed, preferred first.

        Raises:
            SrkdError: `resume_state` is a state of this run, but not the newest.
        """
        own, named = resume.states(folder), self.recipe.resume_state
        if named is None or (self.resume and own):
            return own if self.resume else []
        if self._resumes(folder) and own and own[0].name != Path(named).name:
            raise SrkdError(
                f"path.resume_state: {named} is not the newest state of this run, which is {own[0].name}: remove it "
                "and use --auto_resume, or train under another name"
            )
        return [Path(named)]

    @contextmanager
    def _locked_folder(self) -> Iterator[None]:
        """Lock the run's folder inside the block, after checking that it is a run; another training of it raises."""
        self._is_locked = False
        with ExitStack() as self._locks:
            if is_leader() and self.folder.exists():
                if not _is_run(self.folder):
                    raise SrkdError(
                        f"{printable_path(self.folder)} exists and is not a run of srkd; train under another name "
                        "or --output"
                    )
                self._lock()
            yield

    def _lock(self) -> None:
        if not self._locks.enter_context(locked_itself(self.folder)):
            raise SrkdError(
                f"{printable_path(self.folder)}: another process is training there; wait for it, or train under "
                "another name"
            )
        self._is_locked = True

    def prepare_folder(self) -> None:
        """Create and lock the run's folder, once the first stage has been checked. A folder of an older run is renamed
        unless that run is resumed."""
        if self.folder.exists():
            if not self._is_locked:  # it did not exist when this training started
                self._lock()
            if self.resume or any(self._resumes(folder) for _, folder in self.stages):
                return
            self._check_later_stages()
            moved = _unused(f"{self.folder}_archived_{time.strftime('%Y%m%d_%H%M%S')}")
            os.replace(self.folder, moved)
            self._locks.close()
            say(f"the older run of this name was renamed to {printable_path(moved)}", self.quiet)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._lock()

    def _check_later_stages(self) -> None:
        """Dry-run the stages after the first, before an older run is renamed for a run that would fail.

        Skipped with several processes, because only the first one gets here.
        """
        state = random_state()
        for recipe, _ in self.stages[1:] if int(os.environ.get("WORLD_SIZE", "1")) == 1 else []:
            task = self.task_type(recipe)
            task.dry_run = True
            task.setup(make_fabric(recipe))
        restore_random_state(state)


class _Stage:
    """One stage of a run, or a whole run without stages."""

    def __init__(self, run: Run, recipe: Recipe, folder: Path, number: int) -> None:
        self.run, self.recipe, self.folder, self.number = run, recipe, folder, number
        self.fabric = make_fabric(recipe)
        _seed(recipe.manual_seed)
        self.task = run.task_type(recipe)
        self.metrics: dict[str, float] = {}
        self._reported: list[str] = []

    def train(self, previous: dict[str, torch.Tensor] | None) -> dict[str, Any]:
        self.task.setup(self.fabric)
        self.best = self.task.best_tracker()
        self.task.on_stage(self.number, previous)
        self.ema = Ema(self.task.trained(), self.recipe.train.ema_decay)
        self.dependencies = self.task.dependencies()
        start = self._resume()
        total = self.recipe.train.total_iter
        self._start(start)
        self.save_clock = Timer(self.recipe.logger.save_state_seconds)
        title = self.recipe.name if len(self.run.stages) == 1 else f"{self.recipe.name}, stage {self.number}"
        self._last = (time.monotonic(), start)
        quiet = self.run.quiet or not self.fabric.is_global_zero
        try:
            with stop_on_signals() as self.asked, Progress(title, total, start, quiet=quiet) as self.progress:
                done, early = self._fit(start, total)
            if early:
                assert self.best is not None
                say(
                    f"stopped at step {done} of {total}: {self.best.score} has not improved on "
                    f"{self.best.value} since step {self.best.step}",
                    self.run.quiet,
                )
            elif done < total:
                say(f"stopped at step {done} of {total}; --auto_resume continues from there", self.run.quiet)
            if (early or done == total) and (start < done or not self.metrics):
                if not early:  # an early stop follows a validation
                    self._validate(done)
                self._finish(done)
        finally:
            if self.log is not None:
                self.log.close()
        self.fabric.barrier()
        signal = self.asked() if done < total and not early else 0
        result = {
            "step": done,
            "total": total,
            "finished": early or done == total,
            "signal": signal,
            "metrics": self.metrics,
            "models": self._model_paths("latest"),
        }
        if self.best is not None and self.best.value is not None:
            result["best"] = {
                "step": self.best.step,
                "score": self.best.score,
                "value": self.best.value,
                "models": self._model_paths("best"),
            }
        return result

    def _fit(self, start: int, total: int) -> tuple[int, bool]:
        """Train from step `start`; returns the steps done and whether training stopped early."""
        if self._exhausted():  # already when it was resumed
            return start, True
        try:
            fit(self.task, self.recipe.train, self.fabric, self.ema, start, self._after_step)
        except EarlyStop as stop:
            return stop.args[0], True
        except Stop as stop:
            return stop.args[0], False
        return total, False

    def _exhausted(self) -> bool:
        return self.best is not None and self.best.patience > 0 and self._any_process(self.best.exhausted)

    def _model_paths(self, label: str) -> dict[str, str]:
        return {name: str(self._model_path(name, label)) for name in self.task.trained()}

    def _start(self, start: int) -> None:
        """Write the files of a run's start and print its notices."""
        self.log: Log | None = None
        if not self.fabric.is_global_zero:
            return
        self._print_notices()
        if self.number == 1:
            self.run.prepare_folder()
        write_text(self.folder / "recipe.yml", dump(self.recipe))
        self.log = Log(self.folder, start, self.recipe.logger.use_tb_logger)
        if start == 0:
            # With a state at step 0, a run killed before its first save resumes bit-exactly.
            self._save_state(0)
        for record in read_metrics(self.folder / "metrics.jsonl"):
            scores = {key.removeprefix("val/"): value for key, value in record.items() if key.startswith("val/")}
            self.metrics = scores or self.metrics
            if self.best is not None:
                self.best.update(record["step"], scores)

    def _print_notices(self) -> list[str]:
        """Print notices not printed before, and return them; a task may add notices during training."""
        new = [text for text in dict.fromkeys([*self.run.notices, *self.task.notices]) if text not in self._reported]
        for text in new:
            say(f"notice: {text}", self.run.quiet)
        self._reported += new
        return new

    def _after_step(self, done: int, values: Any) -> None:
        logger, total = self.recipe.logger, self.recipe.train.total_iter
        every = self.task.validate_every
        saved = False
        if done % logger.print_freq == 0 or done == total:
            self._write_values(done, values())
        self.progress.update(done)
        if every and done % every == 0 and done < total:
            self._validate(done)
            if self._exhausted():
                raise EarlyStop(done)
        if done % logger.save_checkpoint_freq == 0 and done < total:
            self._save_models(str(done))
            self._save_state(done)
            saved = True
        # After the last step the state is written by `_finish`, after the models.
        if done < total and self._stopping():
            if not saved:
                values()
                self._save_state(done)
            raise Stop(done)
        if done < total and not saved and self._save_due():
            values()
            self._save_state(done)

    def _stopping(self) -> bool:
        late = self.run.deadline is not None and time.monotonic() > self.run.deadline
        return self._any_process(bool(self.asked()) or late)

    def _save_due(self) -> bool:
        return self.fabric.world_size == 1 and self.save_clock.due()

    def _any_process(self, own: bool) -> bool:
        """Whether the condition is true in any process: all must leave the loop at the same step."""
        if self.fabric.world_size == 1:
            return own
        count = self.fabric.all_reduce(torch.tensor(float(own), device=self.fabric.device), reduce_op="sum")
        return isinstance(count, torch.Tensor) and bool(count > 0)

    def _write_values(self, done: int, values: dict[str, float]) -> None:
        now, since = time.monotonic(), self._last
        self._last = (now, done)
        rate = (done - since[1]) / max(now - since[0], 1e-9)
        lr = max(group["lr"] for opt in self.task.optimisers.values() for group in opt.param_groups)
        if self.log is not None:
            for notice in self._print_notices():
                self.log.write(done, {"notice": notice})
            self.log.write(done, {**values, "lr": lr, "steps_per_second": round(rate, 3)})
        summary = " ".join(f"{name} {value:.4g}" for name, value in values.items() if "/" not in name)
        self.progress.update(done, summary)

    def _validate(self, done: int) -> None:
        """Score the averaged weights; the random state is restored, so that validation does not affect training."""
        state = random_state()
        self.task.eval()
        with self.ema.swapped(), torch.no_grad():
            self.metrics = self.task.validate(done, self.folder / "visualization")
        self.task.train()
        restore_random_state(state)
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
        folder = self.folder / "training_states"
        state = {
            "step": done,
            "task": self.task.state_dict(),
            "optimisers": {name: opt.state_dict() for name, opt in self.task.optimisers.items()},
            "ema": self.ema.state_dict(),
            "random": random_state(),
            "total": self.recipe.train.total_iter,
            "settings": resume.text(self.task.settings()),
            "fingerprint": self.dependencies,
        }
        checkpoint.save_state(folder / f"{done:09d}.pt", state)
        for old in sorted(folder.glob(f"{'[0-9]' * 9}.pt"))[:-_KEPT_STATES]:
            old.unlink()

    def _resume(self) -> int:
        """Load the newest intact state of this stage; returns the step to resume from."""
        for path, state in _found_state(self.run, self.recipe, self.folder):
            notice = _check_state(path, state, self.task, self.recipe)
            later = any(resume.states(folder) for _, folder in self.run.stages[self.number :])
            if later and int(state["step"]) < self.recipe.train.total_iter:
                raise SrkdError(
                    f"{path}: the next stage started from this state, so this stage cannot train more steps"
                )
            self.run.notices += [notice] if notice else []
            try:
                self._load(state)
            except (KeyError, RuntimeError, ValueError) as error:  # from torch, for tensors that do not fit this task
                text = (str(error).splitlines() or [""])[0]
                raise SrkdError(f"{path}: does not fit the networks of this recipe: {text}") from error
            return int(state["step"])
        return 0

    def _load(self, state: Mapping[str, Any]) -> None:
        self.task.load_state_dict(state["task"])
        for name, optimiser in self.task.optimisers.items():
            rates = [group["lr"] for group in optimiser.param_groups]
            optimiser.load_state_dict(state["optimisers"][name])
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate
        self.ema.load_state_dict(state["ema"])
        restore_random_state(state["random"])


def _found_state(run: Run, recipe: Recipe, folder: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The state from which a stage is resumed, with its path, or an empty list."""
    paths = run.states(folder)
    return [resume.newest_intact(paths, lambda text: say(text, run.quiet))] if paths else []


def _check_state(path: Path, state: Mapping[str, Any], task: Task, recipe: Recipe) -> str | None:
    progressing = any("progress" in getattr(module, "needs", ()) for module in task.modules())
    needs_total = schedule.needs_total(recipe.train) or progressing
    return resume.check(path, state, task.settings(), task.dependencies(), recipe.train.total_iter, needs_total)


def _is_run(folder: Path) -> bool:
    """Whether a folder is a run's or contains only hidden files: then it may be renamed or written to."""
    marks = ("recipe.yml", "training_states", "metrics.jsonl", "stage_1")
    return folder.is_dir() and (
        any((folder / mark).exists() for mark in marks) or all(path.name.startswith(".") for path in folder.iterdir())
    )


def _unused(name: str) -> Path:
    """The first path of this name, or with a number appended, that does not exist."""
    paths = (Path(name if not number else f"{name}_{number}") for number in itertools.count())
    return next(path for path in paths if not os.path.lexists(path))


def _seed(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)


def is_leader() -> bool:
    """Whether this is the first process, which writes files and messages."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str, quiet: bool = False) -> None:
    """Print one line on standard error, from the first process only."""
    if not quiet and is_leader():
        tell(text)


def _is_lost_process(error: RuntimeError) -> bool:
    """Whether a torch error means that another process is gone; gloo raises a plain RuntimeError for it."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def make_fabric(recipe: Recipe) -> Fabric:
    """Lightning Fabric for one process, or for as many as torchrun or SLURM started.

    Fabric handles devices and distribution; precision, which may change during a run, is up to `Task.autocast`.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy

        started = int(os.environ.get("WORLD_SIZE", "1"))
        local = int(os.environ.get("LOCAL_WORLD_SIZE", str(started)))
        fabric = Fabric(
            accelerator="gpu" if torch.cuda.is_available() and recipe.num_gpu != 0 else "cpu",
            devices=local if started > 1 else 1,
            num_nodes=max(started // local, 1),
            # Buffers are constants or running statistics, and those of the first process are saved: broadcasting them
            # in every step is useless (and fails in torch for a single channels-last buffer).
            strategy=DDPStrategy(forward_sync_buffers=False, find_unused_parameters=recipe.find_unused_parameters)
            if started > 1
            else "auto",
        )
        fabric.launch()
    return fabric

"""A training run: a recipe in, a folder out. Stages, resuming, saving and logging around the loop.

`experiments/<name>/` holds recipe.yml (resolved), models/, training_states/, metrics.jsonl, tb/, visualization/; a
recipe with stages has such a folder for each stage, stage_1/ and so on.
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
from srkd.training.loop import Clock, EarlyStop, Stop, fit, random_state, restore_random_state, stop_on_signals
from srkd.training.malloc import keep_freed_memory
from srkd.training.recipe import Recipe, dump, merge, validate
from srkd.training.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_KEPT_STATES = 2


class Run:
    """Trains what a recipe describes.

    Args:
        data: the recipe as read from YAML, overrides applied.
        root: folder that gets `<name>/`.
        resume: continue from the newest whole training state, if there is one; else from the recipe's `resume_state`,
            or, where it names none, at step 0. Without `resume` an older run of the same name is moved aside to
            `<name>_archived_<time>`, unless `resume_state` is its newest one.
        budget: seconds after which training stops between two steps, state saved; None for no limit.
        quiet: no progress.

    Raises:
        SrkdError: mistakes in the recipe, all at once; or what was resumed does not fit.
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
        self.notices = [f"ignored, since they mean nothing here: {', '.join(ignored)}"] if ignored else []
        wanted, processes = self.recipe.num_gpu, int(os.environ.get("WORLD_SIZE", "1"))
        if isinstance(wanted, int) and wanted > 1 and wanted != processes:
            text = f"num_gpu is {wanted}, and a process has one: torchrun --nproc_per_node {wanted} starts as many"
            self.notices.append(text)
        self.folder = Path(root) / self.recipe.name
        self.resume, self.quiet = resume, quiet
        self.deadline = None if budget is None else time.monotonic() + budget
        self.stages = self._stages()
        if self.recipe.resume_state is not None and len(self.stages) > 1:
            raise SrkdError("path.resume_state: a run with stages goes on by --auto_resume, which knows where it was")

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
        """Check every name, shape and path of every stage and try a step of it, without caching or writing a run.

        Returns:
            The stages' tasks, set up.
        """
        return self.set_up(dry=True)

    def set_up(self, dry: bool = False) -> list[Task]:
        """Build every stage's task, ready to train; a rehearsal builds nothing that takes long."""
        built = []
        for recipe, folder in self.stages:
            fabric = make_fabric(recipe)
            _seed(recipe.manual_seed)
            task = self.task_type(recipe)
            task.dry = dry
            task.setup(fabric)
            task.judged_by()
            if dry:
                try_step(task, recipe.train, fabric)
                for path, state in _found_state(self, recipe, folder):
                    _check_state(path, state, task, recipe)
            self.notices += task.notices
            built.append(task)
        return built

    def train(self) -> dict[str, Any]:
        """Train to the end, or until the budget or a signal stops it.

        Returns:
            {"step", "total", "finished", "signal": that which stopped it, or 0, "metrics": last validation's scores,
            "models": paths by network name}, and, where the task has a score that decides, "best": {"step", "score",
            "value", "models"} of its best validation. A run that stopped for want of a better one is finished too.

        Raises:
            SrkdError: training diverged; a disk is full; another of several processes ended early; another training
                has the run's folder, or what lies there is no run.
        """
        keep_freed_memory()
        try:
            with self._alone():
                return self._train_stages()
        except RuntimeError as error:
            if torch.distributed.is_initialized() and _is_of_a_lost_process(error):
                raise SrkdError(
                    "another process of this training ended early, and its own last lines say why; --auto_resume goes "
                    "on from the last saved state"
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
        """Whether the recipe's `resume_state` is of this folder."""
        named = self.recipe.resume_state
        return named is not None and Path(named).absolute().parent == (folder / "training_states").absolute()

    def states(self, folder: Path) -> list[Path]:
        """The training states that a stage may go on from, best first.

        Raises:
            SrkdError: `resume_state` is of this run, but not its newest.
        """
        own, named = resume.states(folder), self.recipe.resume_state
        if named is None or (self.resume and own):
            return own if self.resume else []
        if self._resumes(folder) and own and own[0].name != Path(named).name:
            raise SrkdError(
                f"path.resume_state: {named} is not the newest state of this run, which is {own[0].name}: leave it out "
                "and give --auto_resume, or train under another name"
            )
        return [Path(named)]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the run's folder, which other trainings are refused for as long, and check that it is one."""
        self._holds = False
        with ExitStack() as self._holding:
            if is_leader() and self.folder.exists():
                if not _is_run(self.folder):
                    raise SrkdError(
                        f"{printable_path(self.folder)} is there and is no run of srkd's; train under another name or "
                        "--output"
                    )
                self._hold()
            yield

    def _hold(self) -> None:
        if not self._holding.enter_context(locked_itself(self.folder)):
            raise SrkdError(
                f"{printable_path(self.folder)}: another process is training there; wait for it, or train under "
                "another name"
            )
        self._holds = True

    def make_room(self) -> None:
        """Make the run's folder, for the first stage that is checked and about to be trained; an older run's is moved
        aside unless it is resumed."""
        if self.folder.exists():
            if not self._holds:  # it was not there when this training began
                self._hold()
            if self.resume or any(self._resumes(folder) for _, folder in self.stages):
                return
            self._check_later_stages()
            moved = _free(f"{self.folder}_archived_{time.strftime('%Y%m%d_%H%M%S')}")
            os.replace(self.folder, moved)
            say(f"an older run of this name is now {printable_path(moved)}", self.quiet)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        self._hold()

    def _check_later_stages(self) -> None:
        """Dry-run the stages after the first, before an older run makes room for what would then fail.

        One of several processes cannot do that alone.
        """
        state = random_state()
        for recipe, _ in self.stages[1:] if int(os.environ.get("WORLD_SIZE", "1")) == 1 else []:
            task = self.task_type(recipe)
            task.dry = True
            task.setup(make_fabric(recipe))
        restore_random_state(state)


class _Stage:
    """One stage of a run, or the whole of a run without stages."""

    def __init__(self, run: Run, recipe: Recipe, folder: Path, number: int) -> None:
        self.run, self.recipe, self.folder, self.number = run, recipe, folder, number
        self.fabric = make_fabric(recipe)
        _seed(recipe.manual_seed)
        self.task = run.task_type(recipe)
        self.metrics: dict[str, float] = {}
        self._said: list[str] = []

    def train(self, previous: dict[str, torch.Tensor] | None) -> dict[str, Any]:
        self.task.setup(self.fabric)
        self.best = self.task.judged_by()
        self.task.on_stage(self.number, previous)
        self.ema = Ema(self.task.trained(), self.recipe.train.ema_decay)
        self.dependencies = self.task.dependencies()
        start = self._resume()
        total = self.recipe.train.total_iter
        self._begin(start)
        self.save_clock = Clock(self.recipe.logger.save_state_seconds)
        title = self.recipe.name if len(self.run.stages) == 1 else f"{self.recipe.name}, stage {self.number}"
        self._last = (time.monotonic(), start)
        quiet = self.run.quiet or not self.fabric.is_global_zero
        try:
            with stop_on_signals() as self.asked, Progress(title, total, start, quiet=quiet) as self.progress:
                done, early = self._fit(start, total)
            if early:
                assert self.best is not None
                say(
                    f"stopped at step {done} of {total}: {self.best.score} has not been better than "
                    f"{self.best.value} since step {self.best.step}",
                    self.run.quiet,
                )
            elif done < total:
                say(f"stopped at step {done} of {total}; --auto_resume goes on from there", self.run.quiet)
            if (early or done == total) and (start < done or not self.metrics):
                if not early:  # then it was validated just now
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
        """Train from step `start`; returns the steps done, and whether no better score was to be waited for."""
        if self._exhausted():  # when it was resumed
            return start, True
        try:
            fit(self.task, self.recipe.train, self.fabric, self.ema, start, self._after_step)
        except EarlyStop as stop:
            return stop.args[0], True
        except Stop as stop:
            return stop.args[0], False
        return total, False

    def _exhausted(self) -> bool:
        return self.best is not None and self.best.patience > 0 and self._agreed(self.best.exhausted)

    def _model_paths(self, label: str) -> dict[str, str]:
        return {name: str(self._model_path(name, label)) for name in self.task.trained()}

    def _begin(self, start: int) -> None:
        """Write what a run writes at its start, and say what the user should know."""
        self.log: Log | None = None
        if not self.fabric.is_global_zero:
            return
        self._say_notices()
        if self.number == 1:
            self.run.make_room()
        write_text(self.folder / "recipe.yml", dump(self.recipe))
        self.log = Log(self.folder, start, self.recipe.logger.use_tb_logger)
        if start == 0:
            # A state at step 0 lets even the earliest kill be resumed to the same bits.
            self._save_state(0)
        for record in read_metrics(self.folder / "metrics.jsonl"):
            scores = {key.removeprefix("val/"): value for key, value in record.items() if key.startswith("val/")}
            self.metrics = scores or self.metrics
            if self.best is not None:
                self.best.see(record["step"], scores)

    def _say_notices(self) -> list[str]:
        """Say, once, what the user should know; a task may learn more of it while it trains."""
        new = [text for text in dict.fromkeys([*self.run.notices, *self.task.notices]) if text not in self._said]
        for text in new:
            say(f"notice: {text}", self.run.quiet)
        self._said += new
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
        # After the last step the run ends anyway, and its state may only be written once its models are.
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
        return self._agreed(bool(self.asked()) or late)

    def _save_due(self) -> bool:
        return self.fabric.world_size == 1 and self.save_clock.due()

    def _agreed(self, mine: bool) -> bool:
        """Whether any process says so: all must leave the loop at the same step."""
        if self.fabric.world_size == 1:
            return mine
        votes = self.fabric.all_reduce(torch.tensor(float(mine), device=self.fabric.device), reduce_op="sum")
        return isinstance(votes, torch.Tensor) and bool(votes > 0)

    def _write_values(self, done: int, values: dict[str, float]) -> None:
        now, since = time.monotonic(), self._last
        self._last = (now, done)
        rate = (done - since[1]) / max(now - since[0], 1e-9)
        lr = max(group["lr"] for opt in self.task.optimisers.values() for group in opt.param_groups)
        if self.log is not None:
            for notice in self._say_notices():
                self.log.write(done, {"notice": notice})
            self.log.write(done, {**values, "lr": lr, "steps_per_second": round(rate, 3)})
        shown = " ".join(f"{name} {value:.4g}" for name, value in values.items() if "/" not in name)
        self.progress.update(done, shown)

    def _validate(self, done: int) -> None:
        """Score the averaged weights; the random state is put back, so validating changes no training."""
        state = random_state()
        self.task.eval()
        with self.ema.swapped(), torch.no_grad():
            self.metrics = self.task.validate(done, self.folder / "visualization")
        self.task.train()
        restore_random_state(state)
        if self.log is not None and self.metrics:
            self.log.write(done, {f"val/{name}": value for name, value in self.metrics.items()})
            shown = ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())
            say(f"step {done}: {shown}", self.run.quiet)
            if self.best is not None and self.best.score not in self.metrics:
                raise unknown("score in val.best", self.best.score, self.metrics)
            if self.best is not None and self.best.see(done, self.metrics):
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
        """Load the newest whole state of this stage; returns the step to go on from."""
        for path, state in _found_state(self.run, self.recipe, self.folder):
            notice = _check_state(path, state, self.task, self.recipe)
            later = any(resume.states(folder) for _, folder in self.run.stages[self.number :])
            if later and int(state["step"]) < self.recipe.train.total_iter:
                raise SrkdError(f"{path}: the next stage began from there, so that this one cannot get more steps")
            self.run.notices += [notice] if notice else []
            try:
                self._load(state)
            except (KeyError, RuntimeError, ValueError) as error:  # torch's, of tensors that are not this task's
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
    """The state that a stage goes on from, if any."""
    paths = run.states(folder)
    return [resume.newest_whole(paths, lambda text: say(text, run.quiet))] if paths else []


def _check_state(path: Path, state: Mapping[str, Any], task: Task, recipe: Recipe) -> str | None:
    progressing = any("progress" in getattr(module, "needs", ()) for module in task.modules())
    needs_total = schedule.needs_total(recipe.train) or progressing
    return resume.check(path, state, task.settings(), task.dependencies(), recipe.train.total_iter, needs_total)


def _is_run(folder: Path) -> bool:
    """Whether a folder is that of a run, or as good as empty: then it may be moved aside or written to."""
    marks = ("recipe.yml", "training_states", "metrics.jsonl", "stage_1")
    return folder.is_dir() and (
        any((folder / mark).exists() for mark in marks) or all(path.name.startswith(".") for path in folder.iterdir())
    )


def _free(name: str) -> Path:
    """A path of this name, or with a number after it, that does not exist."""
    paths = (Path(name if not number else f"{name}_{number}") for number in itertools.count())
    return next(path for path in paths if not os.path.lexists(path))


def _seed(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)


def is_leader() -> bool:
    """Whether this is the first process, the one that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str, quiet: bool = False) -> None:
    """One line for the user, on standard error, from the first process only."""
    if not quiet and is_leader():
        tell(text)


def _is_of_a_lost_process(error: RuntimeError) -> bool:
    """Whether an error of torch's says that another process no longer answers; gloo has no class of its own for it."""
    return isinstance(error, torch.distributed.DistError) or "gloo" in str(error)


def make_fabric(recipe: Recipe) -> Fabric:
    """Lightning Fabric for this machine: one process, or as many as torchrun or SLURM started.

    Fabric places and distributes; precision is the task's (`Task.autocast`), since it may change during a run.
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
            # Buffers are constants or running statistics, and the first process's are saved: broadcasting them in every
            # step gains nothing (and fails in torch for a single channels-last one).
            strategy=DDPStrategy(forward_sync_buffers=False, find_unused_parameters=recipe.find_unused_parameters)
            if started > 1
            else "auto",
        )
        fabric.launch()
    return fabric

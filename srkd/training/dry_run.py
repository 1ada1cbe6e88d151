"""Checks before training, so that errors appear at once and not in the middle of a run."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srkd.errors import SrkdError
from srkd.training.ema import Ema
from srkd.training.loop import Stop, fit, random_state, restore_random_state
from srkd.training.recipe import Train
from srkd.training.task import Task

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@contextmanager
def one_line_errors(what: str) -> Iterator[None]:
    """Convert any exception raised inside the block to a one-line SrkdError: `what`, the error, and its line in the
    user's own code.

    Raises:
        SrkdError: in place of any other exception; an SrkdError raised inside passes through unchanged.
    """
    try:
        yield
    except SrkdError:
        raise
    except Exception as error:  # networks and losses may be third-party code
        text = (str(error).splitlines() or [""])[0][:300]
        raise SrkdError(f"{what}: {type(error).__name__}: {text}{_user_location(error)}") from error


def _user_location(error: BaseException) -> str:
    """The file and line of an error in code that belongs neither to srkd nor to an installed package, if any."""
    own = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if own not in path.parents and not {"site-packages", "dist-packages"} & set(path.parts) and path.is_file():
            return f" ({path.name}, line {frame.lineno})"
    return ""


def try_step(task: Task, train: Train, fabric: Fabric) -> None:
    """Run the first step in which every part of the task trains, then restore the task's state.

    Args:
        task: after `setup`.

    Raises:
        SrkdError: the step fails, or a loss is not finite.
    """
    step = task.first_full_step
    if step >= train.total_iter:
        raise SrkdError(f"some parts train only from step {step + 1} on, but train.total_iter is {train.total_iter}")
    before = copy.deepcopy(task.state_dict())
    optimisers = {name: copy.deepcopy(optimiser.state_dict()) for name, optimiser in task.optimisers.items()}
    state, notices = random_state(), list(task.notices)

    def stop(done: int, values: Any) -> None:
        values()
        raise Stop(done)

    with one_line_errors("the first step"), suppress(Stop):
        fit(task, train, fabric, Ema(task.trained(), train.ema_decay), step, stop)
    task.load_state_dict(before)
    for name, optimiser in task.optimisers.items():
        optimiser.load_state_dict(optimisers[name])
    restore_random_state(state)
    task.notices = notices

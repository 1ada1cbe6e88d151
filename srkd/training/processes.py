"""The processes of a training: one, or those that torchrun or SLURM started."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from srkd.errors import SrkdError
from srkd.terminal import tell
from srkd.training.recipe import Recipe

if TYPE_CHECKING:
    from lightning_fabric import Fabric

_kept: list[torch.distributed.ProcessGroup | None] = []  # the last group that was left: see `process_group`


def is_leader() -> bool:
    """Whether this is the first process, which writes files and messages."""
    return os.environ.get("RANK", "0") == "0"


def started() -> int:
    """Number of processes that were started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def say(text: str, quiet: bool = False) -> None:
    """Print one line on standard error, from the first process only."""
    if not quiet and is_leader():
        tell(text)


def make_fabric(recipe: Recipe) -> Fabric:
    """Lightning Fabric for one process, or for as many as torchrun or SLURM started.

    Fabric handles devices and distribution; precision, which may change during a run, is up to `Task.autocast`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments.lightning import LightningEnvironment
        from lightning_fabric.strategies.ddp import DDPStrategy

        count = started()
        local = int(os.environ.get("LOCAL_WORLD_SIZE", str(count)))
        fabric = Fabric(
            accelerator="gpu" if torch.cuda.is_available() and recipe.num_gpu != 0 else "cpu",
            devices=local if count > 1 else 1,
            num_nodes=max(count // local, 1),
            # Buffers are constants or running statistics, and those of the first process are saved: broadcasting them
            # in every step is useless (and fails in torch for a single channels-last buffer).
            strategy=DDPStrategy(forward_sync_buffers=False, find_unused_parameters=recipe.find_unused_parameters)
            if count > 1
            else "auto",
            # A single process in a batch script of SLURM is not one of the job's tasks.
            plugins=[] if count > 1 else [LightningEnvironment()],
        )
        fabric.launch()
    return fabric


def any_process(fabric: Fabric, own: bool) -> bool:
    """Whether the condition is true in any process: all must leave the loop at the same step."""
    if fabric.world_size == 1:
        return own
    count = fabric.all_reduce(torch.tensor(float(own), device=fabric.device), reduce_op="sum")
    return isinstance(count, torch.Tensor) and bool(count > 0)


@contextmanager
def process_group() -> Iterator[None]:
    """Leave the group of processes at the end of the block.

    Raises:
        SrkdError: another process ended early. torch raises DistError for it, or gloo a plain RuntimeError.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
        if torch.distributed.is_initialized() and lost:
            raise SrkdError(
                "another process of this training ended early; see its last lines for the reason. --auto_resume "
                "continues from the last saved state"
            ) from error
        raise
    finally:
        if torch.distributed.is_initialized():
            # Otherwise torch's Reducer drops the last reference later: it holds Python's lock while it waits for gloo's
            # thread, which needs that lock to drop the last barrier. About one training in ten never ended.
            _kept[:] = [torch.distributed.group.WORLD]
            torch.distributed.destroy_process_group()

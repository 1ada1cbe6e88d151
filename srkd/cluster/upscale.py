"""Upscaling of many images by Ray Data: the driver lists, and workers read, upscale and write batches of images.

A worker process opens its engine once and overlaps reading, computing and writing as the local command does; Ray Data
sends a batch only when a worker is free, so images never queue up in memory. An image travels between storage and
worker only. A lost worker's batches go to others: a file is whole or not there, so an image that is written twice is
written the same.
"""

from __future__ import annotations

import logging
import pickle
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.files.remote import existing
from srkd.inference.files import Options, Say, conclude, upscale_files
from srkd.inference.jobs import Job, Outcome
from srkd.inference.model import Model

OpenModel = Callable[[], Model]

_BATCHES_PER_WORKER, _LARGEST_BATCH = 8, 16
_RETRIES = 3  # of a batch whose worker died
_opened: dict[str, Model] = {}  # in a worker process


def upscale_on(
    request: dict[str, Any],
    workers: int,
    open_model: OpenModel,
    jobs: Sequence[Job],
    options: Options,
    say: Say,
    done: Callable[[int], None],
    outcomes: list[Outcome],
) -> int:
    """As `srkd.inference.files.upscale_files`, on the cluster that this process is connected to.

    Args:
        request: resources of a worker, as `Cluster.request` returns them; it computes in `num_cpus` threads.
        workers: number of batches at a time.
        open_model: opens the model with its engine in a worker; sent there, so a function of a module.

    Raises:
        PartialFailure: some jobs failed; each has been reported with its reason.
    """
    present = existing(job.target for job in jobs) if options.skip_existing else set()
    outcomes += [Outcome(job, "skipped") for job in jobs if job.target in present]
    todo = [job for job in jobs if job.target not in present]
    skipped = len(outcomes)
    done(skipped)
    left = dict(enumerate(todo))
    try:
        for number, outcome in stream(request, workers, open_model, todo, options) if todo else ():
            del left[number]
            outcomes.append(outcome)
            for note in outcome.notes:
                say(f"{printable_path(outcome.job.source)}: {note}")
            done(skipped + len(todo) - len(left))
    except SrkdError:
        raise
    except Exception as error:
        raise SrkdError(f"the cluster failed: {' '.join(str(error).split())[:300]}") from error
    lost = "its worker died repeatedly, as for lack of memory"
    outcomes += [Outcome(job, "failed", error=f"{printable_path(job.source)}: {lost}") for job in left.values()]
    return conclude(outcomes, len(jobs), len(todo), say)


def stream(
    request: dict[str, Any],
    workers: int,
    open_model: OpenModel,
    jobs: Sequence[Job],
    options: Options,
    work: Callable[..., Any] | None = None,
) -> Iterator[tuple[int, Outcome]]:
    """(number of the job, outcome), each once, as batches end. `work` replaces what a worker does with a batch."""
    import ray.data
    from ray.data import TaskPoolStrategy
    from ray.util import client

    if client.ray.is_connected():  # type: ignore[no-untyped-call]  # Ray Data runs only inside a cluster
        whole = ray.remote(num_cpus=0, max_retries=0)(_whole_stream)
        yield from ray.get(whole.remote(request, workers, open_model, jobs, options, work))
        return
    size = max(1, min(len(jobs) // (workers * _BATCHES_PER_WORKER), _LARGEST_BATCH))
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    _quiet(ray.data.DataContext.get_current())
    rows = [{"number": number, "job": pickle.dumps(job)} for number, job in enumerate(jobs)]
    batches: Any = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // size))
    results = batches.map_batches(
        work or _upscale,
        batch_size=None,  # a block
        batch_format="pyarrow",
        compute=TaskPoolStrategy(size=workers),
        fn_kwargs={
            "key": secrets.token_hex(8),
            "open_model": open_model,
            "options": replace(options, skip_existing=False),
        },
        max_retries=_RETRIES,
        max_calls=0,  # a worker process with a GPU would otherwise end after each task
        **request,
    )
    for row in results.iter_rows():
        yield int(row["number"]), pickle.loads(row["outcome"])


def _whole_stream(*arguments: Any) -> list[tuple[int, Outcome]]:
    """In a task of a cluster whose driver is outside: `stream`, once all batches have ended."""
    return list(stream(*arguments))


def _quiet(context: Any) -> None:
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_errored_blocks = -1  # a batch whose worker keeps dying does not stop the others
    context.execution_options.preserve_order = False


def _upscale(batch: Any, key: str, open_model: OpenModel, options: Options) -> Any:
    """In a worker: upscale a batch of jobs. An error is the outcome of the jobs that have none: Ray would lose it."""
    jobs = [pickle.loads(data) for data in batch["job"].to_pylist()]
    outcomes: list[Outcome] = []
    try:
        upscale_files(_model(key, open_model), jobs, options, lambda _: None, lambda _: None, outcomes)
    except SrkdError as error:
        ended = {outcome.job for outcome in outcomes}
        left = (job for job in jobs if job not in ended)
        outcomes += [Outcome(job, "failed", error=f"{printable_path(job.source)}: {error}") for job in left]
    numbers = dict(zip(jobs, batch["number"].to_pylist(), strict=True))
    return {
        "number": [numbers[outcome.job] for outcome in outcomes],
        "outcome": [pickle.dumps(outcome) for outcome in outcomes],
    }


def _model(key: str, open_model: OpenModel) -> Model:
    """The model of this worker process, opened once for each command."""
    from srkd.cluster.executor import use_own_threads
    from srkd.training.malloc import keep_freed_memory

    if key not in _opened:
        _opened.clear()
        use_own_threads()
        keep_freed_memory()
        _opened[key] = open_model()
    return _opened[key]

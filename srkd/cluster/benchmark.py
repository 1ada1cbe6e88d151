"""`--on ray` against local processes on the same images, and from what was measured the speed of larger clusters.

The speeds of larger clusters are computed, not measured. A job of N images on n nodes takes the time to list them, to
start the engines, and N divided by the least of these rates: what the workers compute, what the driver dispatches, what
the object store reads and writes, and what the nodes' networks carry.
"""

from __future__ import annotations

import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from srkd.benchmarks.upscale import cut
from srkd.cluster.connection import connected
from srkd.cluster.upscale import stream, upscale_on
from srkd.errors import SrkdError
from srkd.inference.files import Options
from srkd.inference.jobs import Job, Outcome, plan_jobs
from srkd.inference.model import Model

COLUMNS = ["nodes", "images/s", "efficiency", "limit", "hours for all"]
NODES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Assumed:
    """What cannot be measured here: a cluster's nodes, and an object store (Amazon's S3 states 1,000 names a page of a
    listing, and 3,500 writes and 5,500 reads a second for each prefix)."""

    images: int = 10_000_000
    workers_per_node: int = 16
    names_per_page: int = 1000
    seconds_per_page: float = 0.1
    writes_per_second: float = 3500.0
    reads_per_second: float = 5500.0
    gigabits_per_node: float = 10.0


@dataclass(frozen=True)
class Measured:
    """On this machine: of one worker, which has one thread, of starting it, and of the driver."""

    images_per_second: float
    start_seconds: float
    dispatch_seconds_per_image: float
    planning_seconds_per_image: float
    bytes_per_image: int


def scaling(measured: Measured, assumed: Assumed, nodes: Sequence[int] = NODES) -> list[dict[str, Any]]:
    """A row of `COLUMNS` for each number of nodes.

    `efficiency` is the speed divided by that of as many times one worker; `limit` is what takes most of the time.
    """
    count = assumed.images
    rows = []
    for number in nodes:
        workers = number * assumed.workers_per_node
        rates = {
            "computing": workers * measured.images_per_second,
            "dispatch": 1 / measured.dispatch_seconds_per_image,
            "small files written": assumed.writes_per_second,
            "small files read": assumed.reads_per_second,
            "network": number * assumed.gigabits_per_node * 1e9 / 8 / measured.bytes_per_image,
        }
        slowest = min(rates, key=lambda name: rates[name])
        pages = count / assumed.names_per_page * assumed.seconds_per_page
        times = {
            slowest: count / rates[slowest],
            "listing": pages + count * measured.planning_seconds_per_image,
            "engine start": measured.start_seconds,
        }
        total = sum(times.values())
        row = (
            number,
            round(count / total, 1),
            round(count / total / rates["computing"], 3),
            max(times, key=lambda name: times[name]),
            round(total / 3600, 2),
        )
        rows.append(dict(zip(COLUMNS, row, strict=True)))
    return rows


def measure(
    model: str, data: str, count: int, size: tuple[int, int], workers: int, rounds: int, say: Say
) -> dict[str, Any]:
    """Time both ways alternately, from the start of their processes to the last file.

    The start of Ray itself is not part of it, as for a cluster that runs already, and is reported.

    A second job, of a quarter of the images, tells apart what Ray's job costs once and what each image costs.

    Returns:
        {"local", "ray": medians in seconds, "overhead": of Ray relative to local processes, "ray_once": seconds of
        Ray's job that do not depend on the number of images, "cluster_start": seconds, "measured": the inputs of
        `scaling`}.

    Raises:
        SrkdError: fewer than four images, or too few of that size; a way failed.
    """
    if count < 4:
        raise SrkdError(f"{count} images: at least 4 are needed")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        files = cut(data, root / "in", count, size)
        few = _links(files[: count // 4], root / "few")
        times: dict[str, list[float]] = {"local": [], "ray": []}
        began = time.monotonic()
        with connected("") as cluster:
            started = time.monotonic() - began
            request = cluster.request(1, 0)
            once = list[float]()
            for number in range(rounds):
                times["local"].append(_local(model, root / "in", root / f"local_{number}", workers))
                short = _ray(request, workers, model, few, root / f"few_{number}")
                times["ray"].append(_ray(request, workers, model, root / "in", root / f"ray_{number}"))
                once.append(short - (times["ray"][-1] - short) / (count - count // 4) * (count // 4))
                latest = {way: seconds[-1] for way, seconds in times.items()}
                say(f"round {number + 1} of {rounds}: local {latest['local']:.1f} s, Ray {latest['ray']:.1f} s")
                _check_equal(root / f"local_{number}", root / f"ray_{number}")
            dispatch = _dispatch_seconds(request, workers)
        medians = {way: statistics.median(values) for way, values in times.items()}
        start = _start_seconds(model)
        # From the local processes, which have one thread each, as workers have.
        rate = count / workers / (medians["local"] - start)
        written = sum(path.stat().st_size for path in (root / "local_0").iterdir())
        read = sum(path.stat().st_size for path in files)
        planning = _planning_seconds(root / "many")
        measured = Measured(rate, start, dispatch, planning, (written + read) // count)
    return {
        **medians,
        "overhead": medians["ray"] / medians["local"] - 1,
        "ray_once": statistics.median(once),
        "cluster_start": started,
        "measured": asdict(measured),
    }


def _links(files: Sequence[Path], folder: Path) -> Path:
    folder.mkdir()
    for path in files:
        (folder / path.name).symlink_to(path)
    return folder


def _local(model: str, source: Path, target: Path, workers: int) -> float:
    """Seconds of the local command in as many processes, started as torchrun starts them."""
    line = [sys.executable, "-m", "srkd", "upscale", str(source), "-o", str(target), "-m", model]
    line += ["--runtime", "torch", "--precision", "fp32"]
    began = time.monotonic()
    processes = []
    for rank in range(workers):
        place = {"RANK": str(rank), "WORLD_SIZE": str(workers), "OMP_NUM_THREADS": "1"}
        quiet = subprocess.DEVNULL
        processes.append(subprocess.Popen(line, env={**os.environ, **place}, stdout=quiet, stderr=quiet))
    if any([process.wait() for process in processes]):
        raise SrkdError(f"the local command failed: {' '.join(line)}")
    return time.monotonic() - began


def _ray(request: dict[str, Any], workers: int, model: str, source: Path, target: Path) -> float:
    began = time.monotonic()
    jobs, outcomes = plan_jobs([str(source)], target), list[Outcome]()
    upscale_on(request, workers, partial(_open, model), jobs, Options(), print, lambda _: None, outcomes)
    return time.monotonic() - began


def _open(model: str) -> Model:
    return Model.load(model)


def _dispatch_seconds(request: dict[str, Any], workers: int, counts: tuple[int, int] = (2000, 10000)) -> float:
    """Seconds to pass an image to a worker and its outcome back: of so many jobs that do nothing, the slope."""
    seconds = []
    for count in counts:
        jobs = [Job(Path(f"{number}.png"), Path(f"out/{number}.png"), "png") for number in range(count)]
        began = time.monotonic()
        if len(list(stream(request, workers, _never_opened, jobs, Options(), _skip))) != count:
            raise SrkdError("Ray lost jobs that do nothing")
        seconds.append(time.monotonic() - began)
    return (seconds[1] - seconds[0]) / (counts[1] - counts[0])


def _skip(batch: Any, **_: Any) -> Any:
    """In a worker: report the jobs of a batch as skipped."""
    jobs = [pickle.loads(data) for data in batch["job"].to_pylist()]
    return {"number": batch["number"], "outcome": [pickle.dumps(Outcome(job, "skipped")) for job in jobs]}


def _never_opened() -> Model:
    raise AssertionError


def _check_equal(one: Path, other: Path) -> None:
    names = sorted(path.name for path in one.iterdir())
    if names != sorted(path.name for path in other.iterdir()):
        raise SrkdError("Ray wrote other files than the local command")
    for name in names:
        if (one / name).read_bytes() != (other / name).read_bytes():
            raise SrkdError(f"{name}: Ray wrote another image than the local command")


def _start_seconds(model: str) -> float:
    """Seconds of a process that opens the model."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", f"import srkd; srkd.load({model!r})"], check=True)
    return time.monotonic() - began


def _planning_seconds(folder: Path, count: int = 5000) -> float:
    """Seconds of the driver to plan the job of one image, its listing included."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.png").touch()
    began = time.monotonic()
    plan_jobs([str(folder)], folder.with_name("out"))
    seconds = time.monotonic() - began
    shutil.rmtree(folder)
    return seconds / count

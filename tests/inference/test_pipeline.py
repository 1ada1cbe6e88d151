from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from srkd.errors import PartialFailure
from srkd.images.read import ImageData, read_image, write_image
from srkd.inference import pipeline
from srkd.inference.files import Options, upscale_files
from srkd.inference.jobs import Job
from srkd.inference.model import Model
from srkd.inference.pipeline import Steps, overlapped
from srkd.networks import build
from support import textured


def blocks(number: int, count: int = 3) -> Iterator[np.ndarray]:
    return (np.full((1, 1, 1), number) for _ in range(count))


def drain(job: int, decoded: int, rows: Iterator[np.ndarray]) -> None:
    assert all(block.item() == decoded for block in rows)


def ends(jobs: Sequence[int], steps: Steps[int, int]) -> list[tuple[int, int | Exception]]:
    reported: list[tuple[int, int | Exception]] = []
    overlapped(jobs, steps, lambda job, result: reported.append((job, result)))
    return reported


def test_the_three_steps_run_side_by_side() -> None:
    """Each step waits until another image is in another step: alone they would wait for ever."""
    meeting = threading.Barrier(3, timeout=20)

    def meet(job: int, at: range) -> None:
        if job in at:
            meeting.wait()

    def decode(job: int) -> int:
        meet(job, range(2, 6))
        return job

    def compute(job: int, decoded: int) -> Iterator[np.ndarray]:
        meet(job, range(1, 5))
        return blocks(job)

    def encode(job: int, decoded: int, rows: Iterator[np.ndarray]) -> None:
        drain(job, decoded, rows)
        meet(job, range(4))

    assert ends(range(6), Steps(decode, compute, encode)) == [(n, n) for n in range(6)]


def test_queues_are_bounded() -> None:
    made = [0]
    read: list[int] = []
    release = threading.Event()

    def compute(job: int, decoded: int) -> Iterator[np.ndarray]:
        for block in blocks(job, 50):
            made[0] += 1
            yield block

    def encode(job: int, decoded: int, rows: Iterator[np.ndarray]) -> None:
        release.wait(20)
        drain(job, decoded, rows)

    def decode(job: int) -> int:
        read.append(job)
        return job

    runner = threading.Thread(target=lambda: ends(range(9), Steps(decode, compute, encode)))
    runner.start()
    time.sleep(0.3)
    waiting, decoded = made[0], len(read)
    release.set()
    runner.join(20)
    assert waiting < 8 and decoded == 2
    assert made[0] == 9 * 50


@pytest.mark.parametrize("step", ["decode", "compute", "encode"])
def test_an_error_in_one_stops_no_other(step: str) -> None:
    def fails(where: str, job: int) -> None:
        if where == step and job == 1:
            raise ValueError(step)

    def decode(job: int) -> int:
        fails("decode", job)
        return job

    def compute(job: int, decoded: int) -> Iterator[np.ndarray]:
        yield from blocks(job)
        fails("compute", job)
        yield from blocks(job, 20)

    def encode(job: int, decoded: int, rows: Iterator[np.ndarray]) -> None:
        fails("encode", job)
        drain(job, decoded, rows)

    (_, a), (_, b), (_, c) = ends(range(3), Steps(decode, compute, encode))
    assert (a, c) == (0, 2)
    assert isinstance(b, ValueError) and str(b) == step


@pytest.mark.parametrize("interrupted", [1, 2, 3])
def test_what_was_finished_before_an_interruption_is_reported(interrupted: int) -> None:
    reported: list[int] = []
    written: list[int] = []

    def compute(job: int, decoded: int) -> Iterator[np.ndarray]:
        yield from blocks(job)
        if job == interrupted:
            raise KeyboardInterrupt

    def encode(job: int, decoded: int, rows: Iterator[np.ndarray]) -> None:
        drain(job, decoded, rows)
        written.append(job)

    with pytest.raises(KeyboardInterrupt):
        overlapped(range(5), Steps(lambda job: job, compute, encode), lambda job, result: reported.append(job))
    assert reported == written == list(range(interrupted))


def test_an_image_that_is_being_finished_during_an_interruption_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interruption arrives after all rows were passed to the writer, which thus finishes the file."""
    reported: list[int] = []
    put = pipeline.RowQueue.put

    def put_and_interrupt(rows: pipeline.RowQueue, block: np.ndarray | None) -> bool:
        put(rows, block)
        if block is None:
            raise KeyboardInterrupt
        return True

    monkeypatch.setattr(pipeline.RowQueue, "put", put_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        overlapped(
            range(2), Steps(lambda n: n, lambda n, _: blocks(n), drain), lambda job, result: reported.append(job)
        )
    assert reported == [0]


def test_an_interruption_ends_all_and_leaves_no_half_file(tmp_path: Path) -> None:
    for number in range(3):
        write_image(tmp_path / f"{number}.png", ImageData(textured(number, 40, 30)))
    jobs = [Job(tmp_path / f"{n}.png", tmp_path / "out" / f"{n}.png", "png") for n in range(3)]

    class Stopped(torch.nn.Module):
        calls = 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.calls == 12:
                raise KeyboardInterrupt
            return x

    model = Model(Stopped(), 1)
    model.__dict__["receptive_field"] = Model(torch.nn.Identity(), 1).receptive_field
    with pytest.raises(KeyboardInterrupt):
        upscale_files(model, jobs, Options(tile=10), lambda line: None, lambda n: None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == []
    assert threading.active_count() == 1 or not any(
        t.name.startswith(("encode", "decode")) for t in threading.enumerate()
    )


def test_the_same_pixels_as_one_by_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Model(build({"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}).eval(), 2)
    jobs = []
    for number in range(5):
        source = tmp_path / f"{number}.png"
        write_image(source, ImageData(textured(number, 30 + number, 40)))
        jobs.append(Job(source, tmp_path / "together" / source.name, "png"))
    (tmp_path / "3.png").write_bytes(b"no image")
    with pytest.raises(PartialFailure, match="1 of 5 images failed, 4 were written"):
        upscale_files(model, jobs, Options(tile=16), lambda line: None, lambda n: None)
    for job in (jobs[0], jobs[1], jobs[2], jobs[4]):
        expected = model.upscale(job.source, tile=16)
        assert np.array_equal(read_image(job.target).pixels, expected)

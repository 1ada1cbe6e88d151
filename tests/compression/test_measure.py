from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from clock import Clock

from srkd.compression import candidates, measure
from srkd.compression.candidates import Candidate
from srkd.compression.job import CompressionJob
from srkd.compression.measure import CandidateMeter
from srkd.compression.request import Request, Settings
from srkd.imitation.teachers import OutputTeacher
from srkd.inference.speed import SpeedMeter
from srkd.networks import registry


def edsr(width: int, family: str = "EDSR") -> Candidate:
    return Candidate(f"{family} {width}", family, {"type": "EDSR", "num_feat": width, "num_block": 1}, 1e-3)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock by which opening a candidate takes 20 s and each of its passes 5 s."""
    clock = Clock()
    monkeypatch.setattr(measure, "_open_and_size", lambda *_: (clock.taking(5.0), clock.taking(20.0)() or 0.25))
    monkeypatch.setattr(measure, "SpeedMeter", lambda seconds, limit: SpeedMeter(seconds, limit, clock))
    return clock


def test_after_the_limit_candidates_are_estimated_from_the_nearest_of_their_family(clock: Clock) -> None:
    meter = CandidateMeter(2, ("torch", "fp32"), (16, 16), SpeedMeter(0.4, 50.0, clock))
    narrow, other = meter(edsr(4)), meter(edsr(32, "other"))
    assert (narrow.ms, narrow.mb, narrow.spread, narrow.estimated) == (5000, 0.25, None, False)
    assert meter.meter.left < 0 and not other.estimated
    before = clock.now
    wide = meter(edsr(8))
    assert clock.now == before and wide.estimated
    assert wide.ms / narrow.ms == pytest.approx(wide.multiply_adds / narrow.multiply_adds) and wide.ms > narrow.ms
    assert wide.mb / narrow.mb == pytest.approx(wide.parameters / narrow.parameters)
    assert str(wide).endswith("ms, estimated") and str(narrow) == "5e+03 ms, one pass"


def test_an_estimate_needs_more_margin() -> None:
    most = candidates.Budget(10.0, None)
    cost = candidates.Cost(8.0, 0.1, 100, 100.0)
    assert not candidates.rejection_reason(cost, most)
    assert candidates.rejection_reason(replace(cost, estimated=True), most) == "8 ms of 10"


@pytest.mark.parametrize("minutes", [15, 60])
def test_measuring_takes_no_more_than_its_share_on_a_busy_machine(
    minutes: int,
    ask: Callable[..., Request],
    small: Settings,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def training_rate(*_: Any) -> float:
        clock.now += 40
        return 50.0

    monkeypatch.setattr(measure, "training_rate", training_rate)
    monkeypatch.setattr(measure, "_time_teacher", lambda *_: {"seconds per pixel": 1e-9})
    wider = [(kind, replace(ladder, widths=range(4, 20))) for kind, ladder in registry.ladders()]
    monkeypatch.setattr(registry, "ladders", lambda: wider)
    before, share = clock.now, 0.15
    settings = replace(small, measuring_share=share, candidates=8)
    job = CompressionJob(ask(max_ms=11000.0, seconds=60.0 * minutes), tmp_path, settings)
    with job.begun():
        prepared = measure.prepare(job)
    spent = clock.now - before
    assert spent <= share * 60 * minutes + 30 + 40  # a candidate and a training may be under way when it ends
    assert len(prepared.candidates) >= 3 and len(set(prepared.rates.values())) == len(prepared.rates)
    if minutes == 15:
        assert any(cost.estimated for _, cost in prepared.candidates)
        assert "candidates are estimated from others" in capsys.readouterr().err


def test_starting_the_teachers_runtime_is_not_part_of_its_speed() -> None:
    clock = Clock()

    def start() -> Callable[[np.ndarray], np.ndarray]:
        clock.now += 60

        def upscale(pixels: np.ndarray) -> np.ndarray:
            clock.now += 1e-4 * pixels.shape[1] * pixels.shape[2]
            return pixels.repeat(2, 1).repeat(2, 2)

        return upscale

    job = SimpleNamespace(teacher=OutputTeacher("teacher", 2, "digest", start))
    timed = measure._time_teacher(cast(CompressionJob, job), SpeedMeter(clock=clock))
    assert timed["seconds per pixel"] == pytest.approx(1e-4)

"""The computed speed of larger clusters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from srkd.cluster.benchmark import Assumed, Measured, scaling

MEASURED = Measured(
    images_per_second=10.0,
    start_seconds=10.0,
    dispatch_seconds_per_image=0.0,
    planning_seconds_per_image=0.0,
    bytes_per_image=1000,
)
FREE = Assumed(
    images=1_000_000,
    workers_per_node=10,
    seconds_per_page=0.0,
    writes_per_second=float("inf"),
    reads_per_second=float("inf"),
)
MEASURED = replace(MEASURED, dispatch_seconds_per_image=1e-12)


def test_without_limits_the_speed_is_that_of_the_workers() -> None:
    one, ten = scaling(MEASURED, FREE, [1, 10])
    assert one["limit"] == "computing" and one["images/s"] == pytest.approx(100, rel=1e-2)
    assert ten["images/s"] == pytest.approx(10 * one["images/s"], rel=1e-1) and ten["efficiency"] == 0.99


@pytest.mark.parametrize(
    ("measured", "assumed", "limit", "rate"),
    [
        (MEASURED, replace(FREE, writes_per_second=500.0), "small files written", 500),
        (MEASURED, replace(FREE, reads_per_second=500.0), "small files read", 500),
        (replace(MEASURED, dispatch_seconds_per_image=0.002), FREE, "dispatch", 500),
        (replace(MEASURED, bytes_per_image=2_000_000), replace(FREE, gigabits_per_node=0.08), "network", 500),
    ],
)
def test_each_limit(measured: Measured, assumed: Assumed, limit: str, rate: float) -> None:
    (row,) = scaling(measured, assumed, [100])
    assert row["limit"] == limit and row["images/s"] == pytest.approx(rate, rel=2e-2)


def test_listing_and_starting_take_the_rest_of_the_time() -> None:
    (row,) = scaling(MEASURED, replace(FREE, seconds_per_page=1.0), [1000])  # 1,000 s of listing, 10 s of computing
    assert row["limit"] == "listing" and row["images/s"] == pytest.approx(1_000_000 / 1020, rel=1e-3)
    (row,) = scaling(replace(MEASURED, start_seconds=1000.0), FREE, [1000])
    assert row["limit"] == "engine start" and row["hours for all"] == pytest.approx(1010 / 3600, abs=0.01)

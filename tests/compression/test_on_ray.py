"""Rounds of a compression as Ray tasks; with SRKD_CLUSTER=1 (`make test-cluster`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster_runs import trained_rounds, with_untrained_rounds
from srkd.cluster import connection
from srkd.cluster.executor import RayExecutor
from srkd.compression import flow
from srkd.compression.request import Request, Settings

pytestmark = [
    pytest.mark.skipif("SRKD_CLUSTER" not in os.environ, reason="minutes: make test-cluster"),
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.timeout(1800),
]


def test_candidates_are_those_of_the_local_command_to_the_bit(
    ask: Callable[..., Request], small: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(connection, "cores", lambda: 1)
    flow.compress(ask(control=False), tmp_path / "local", small)
    with_untrained_rounds(tmp_path / "local", tmp_path / "ray")
    with connection.connected("") as cluster:
        flow.compress(ask(control=False), tmp_path / "ray", small, RayExecutor(cluster.request(1, 0)))
    local = trained_rounds(tmp_path / "local")
    assert len(local) >= 4 and trained_rounds(tmp_path / "ray") == local

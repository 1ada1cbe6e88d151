"""What is checked of a cluster before anything runs on it."""

from __future__ import annotations

import socket
import time

import pytest

from srkd.cli.main import main
from srkd.cluster import connection
from srkd.cluster.connection import Cluster, connected, parse_on
from srkd.errors import SrkdError


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert parse_on("ray") == ""
    assert parse_on("ray://head") == "ray://head:10001" and parse_on("ray://[::1]:7") == "ray://[::1]:7"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert parse_on("ray") == "head:6379"
    for wrong in ("slurm", "ray:head", "ray://", "ray://a b", "ray://head:port"):
        with pytest.raises(SrkdError, match="expected local, ray or ray://"):
            parse_on(wrong)


def test_resources_that_no_node_has() -> None:
    cluster = Cluster(cpus=(0, 8, 4), gpus=(0, 0, 2))
    assert cluster.request(4, None) == {"num_cpus": 4.0, "num_gpus": 1.0}
    assert cluster.slots({"num_cpus": 2.0, "num_gpus": 0.0}) == 6
    assert cluster.slots({"num_cpus": 1.0, "num_gpus": 0.5}) == 4
    with pytest.raises(SrkdError, match=r"no node of the cluster has 5 CPUs and 1 GPUs .* 8 CPUs and 0 GPUs"):
        cluster.request(5, None)
    assert cluster.request(8, 0) == {"num_cpus": 8.0, "num_gpus": 0.0}


def test_no_such_cluster_is_one_line_and_quick(
    tmp_path: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, photos: str
) -> None:
    pytest.importorskip("ray", reason="the extra cluster is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    began = time.monotonic()
    line = ["upscale", str(photos), "-o", f"{tmp_path}/out", "--runtime", "torch", "--precision", "fp32", "--on"]
    assert main([*line, f"ray://127.0.0.1:{port}"]) == 1
    assert time.monotonic() - began < 60  # nobody waits for Ray's own time-outs of minutes
    (line_,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("srkd:")]
    assert f"no Ray cluster at ray://127.0.0.1:{port}: Connection refused" in line_


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(SrkdError, match=r"pip install 'srkd\[cluster\]'"), connected(""):
        pass


def test_versions_name_what_is_missing() -> None:
    assert "missing" not in connection.versions(("json",))
    assert connection.versions(("json", "no_such_module"))["missing"] == "no_such_module"
    own = {"srkd": "1", "torch": "2"}
    assert connection._difference({"srkd": "1", "torch": "3"}, own) == "torch 3"
    error = RuntimeError("The remote function failed to import\nModuleNotFoundError: No module named 'srkd'\n")
    assert "srkd is not installed there" in connection._missing(error)

"""What is checked of a cluster before anything runs on it."""

from __future__ import annotations

import socket
import time
from typing import Any

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


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (
            "Version mismatch: The cluster was started with:\n    Ray: 2.9.0\n    Python: 3.10.1\n"
            "This process was started with:\n    Ray: 2.50.0\n    Python: 3.11.7\n",
            "Version mismatch: The cluster was started with: Ray: 2.9.0 Python: 3.10.1 This process was started with: "
            "Ray: 2.50.0 Python: 3.11.7",
        ),
        (
            "Python minor versions differ between client and server:\nclient is 3.11, server is 3.12",
            "Python minor versions differ between client and server: client is 3.11, server is 3.12",
        ),
        ("Ray Client is not running.\nMore about it", "Ray Client is not running."),
    ],
)
def test_another_version_of_ray_or_python_is_stated(message: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray", reason="the extra cluster is not installed")

    def init(**_: Any) -> None:
        raise RuntimeError(message)

    monkeypatch.setattr(ray, "init", init)
    monkeypatch.setattr(connection, "_check_listening", lambda _: None)
    with pytest.raises(SrkdError) as raised, connected("head:6379"):
        pass
    assert str(raised.value) == f"cannot connect to Ray at head:6379: {reason}"


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


@pytest.fixture
def nodes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What tasks on the nodes "one" and "two" return or raise, and which are alive, without a cluster."""
    ray = pytest.importorskip("ray", reason="the extra cluster is not installed")
    found: dict[str, Any] = {"one": connection.versions(), "two": connection.versions(), "alive": ["one", "two"]}

    def get(name: str, timeout: float) -> Any:
        if isinstance(found[name], Exception):
            raise found[name]
        return found[name]

    def alive() -> list[dict[str, Any]]:
        return [{"NodeID": name, "Resources": {"CPU": 2.0}} for name in found["alive"]]

    monkeypatch.setattr(connection, "alive_nodes", alive)
    monkeypatch.setattr(connection, "on_node", lambda node, *_: node["NodeID"])
    monkeypatch.setattr(connection, "_SYNC_SECONDS", 0.0)
    monkeypatch.setattr(connection.time, "sleep", lambda _: None)
    monkeypatch.setattr(ray, "get", get)
    return found


def test_every_node_that_differs_is_named(nodes: dict[str, Any]) -> None:
    assert connection.check_nodes().cpus == (2, 2)
    nodes["one"] = {**nodes["one"], "torch": "9.9"}
    nodes["two"] = RuntimeError("ModuleNotFoundError: No module named 'srkd'")
    nodes["alive"].append("three")
    nodes["three"] = {**connection.versions(), "missing": "s3fs"}
    with pytest.raises(SrkdError, match=r"\(three\) has missing s3fs, this machine missing nothing"):
        connection.check_nodes()
    with pytest.raises(
        SrkdError, match=r"(?s)\(one\) has torch 9.9, .*\(two\): srkd is not installed there; .*all nodes"
    ):
        connection.check_nodes()


def test_a_living_node_that_cannot_be_asked_is_an_error_and_a_dead_one_is_left_out(
    nodes: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    import ray

    nodes["two"] = ray.exceptions.TaskUnschedulableError("the node is gone")
    with pytest.raises(SrkdError, match=r"\(two\): no task can be started there .*the node is gone"):
        connection.check_nodes()
    names = iter([["one", "two"], ["one"]])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            connection, "alive_nodes", lambda: [{"NodeID": name, "Resources": {"CPU": 2.0}} for name in next(names)]
        )
        assert connection.check_nodes().cpus == (2,)
    assert "(two) died while its versions were checked" in capsys.readouterr().err

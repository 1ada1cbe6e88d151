"""Ray itself: one machine in the suite; with SRKD_CLUSTER=1 (`make test-cluster`) two nodes, one of which is killed."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster_runs import ends_if_one, outcome, trained
from srkd.cli.main import main
from srkd.cluster import connection
from srkd.cluster.connection import connected
from srkd.cluster.executor import RayExecutor
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.studies import results
from support import textured

pytest.importorskip("ray.data", reason="the extra cluster is not installed")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]
two_nodes = pytest.mark.skipif("SRKD_CLUSTER" not in os.environ, reason="minutes: make test-cluster")
CLIENT_PORT = 23579
TORCH = ["--runtime", "torch", "--precision", "fp32"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """24 images and a damaged one."""
    for number in range(24):
        write_image(tmp_path / "in" / f"p{number:02d}.png", ImageData(textured(number, 40, 50)))
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_on_this_machine(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(connection, "cores", lambda: 1)
    line = ["upscale", str(photos), *TORCH]
    assert main([*line, "-o", str(tmp_path / "local")]) == 0
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "p1.png").write_bytes(b"present")
    report = tmp_path / "report.jsonl"
    on_ray = [*line, "-o", str(tmp_path / "ray"), "--on", "ray", "--report", str(report)]
    assert main([*on_ray, "--skip-existing"]) == 0
    assert contents(tmp_path / "ray") == {**contents(tmp_path / "local"), "p1.png": b"present"}
    rows = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert sorted(row["status"] for row in rows) == ["skipped", "written", "written", "written"]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one CPU on this machine; the driver runs on the first."""
    connection._import_ray()
    from ray.cluster_utils import Cluster

    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = f"{Path(__file__).parents[1]}{os.pathsep}{before}"  # for workers: cluster_runs
    made = Cluster()
    head = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False}
    head["_system_config"] = connection.HEALTH
    started(lambda: made.add_node(**head, ray_client_server_port=CLIENT_PORT))
    os.environ["RAY_ADDRESS"] = made.address
    yield made
    del os.environ["RAY_ADDRESS"]
    os.environ["PYTHONPATH"] = before
    made.shutdown()


def second_node(cluster: Any, **options: Any) -> Any:
    return started(lambda: cluster.add_node(num_cpus=1, object_store_memory=100 << 20, **options))


def started(start: Callable[[], Any]) -> Any:
    """A node; on a busy machine Ray's processes may miss their own deadlines of seconds, and stay when others end."""
    import psutil  # Ray's own copy, if there is no other

    before = psutil.Process().children()
    for left in reversed(range(6)):
        try:
            return start()
        except Exception:
            for process in set(psutil.Process().children()).difference(before):
                process.kill()
            if not left:
                raise


def killed_when(cluster: Any, node: Any, condition: Callable[[], bool]) -> threading.Thread:
    """A thread that kills a node as soon as the condition holds."""

    def wait() -> None:
        while not condition():
            time.sleep(0.02)
        cluster.remove_node(node, allow_graceful=False)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


@two_nodes
def test_a_node_dies_in_the_middle_of_a_folder(cluster: Any, folder: Path) -> None:
    line = ["upscale", str(folder / "in"), *TORCH]
    assert main([*line, "-o", str(folder / "local")]) == 2
    out, report = folder / "out", folder / "report.jsonl"
    node = second_node(cluster)
    killer = killed_when(cluster, node, lambda: out.is_dir() and len(list(out.glob("*.png"))) >= 4)
    assert main([*line, "-o", str(out), "--on", "ray", "--report", str(report)]) == 2
    killer.join()
    rows = [json.loads(text) for text in report.read_text(encoding="utf-8").splitlines()]
    assert sorted(Path(row["source"]).name for row in rows) == sorted(path.name for path in (folder / "in").iterdir())
    assert [Path(row["source"]).name for row in rows if row["status"] == "failed"] == ["broken.png"]
    assert contents(out) == contents(folder / "local")  # nothing lost, nothing half-written


@two_nodes
def test_a_node_dies_in_the_middle_of_a_study(cluster: Any, study: dict[str, Any], tmp_path: Path) -> None:
    study["base"]["train"]["total_iter"] = 60
    local = trained(study, tmp_path / "local")
    node, root = second_node(cluster), tmp_path / "remote" / "out"

    def one_is_finished() -> bool:
        found = [path.read_text(encoding="utf-8") for path in root.rglob("seed_*.json")]
        return any('"finished"' in text for text in found)

    killer = killed_when(cluster, node, one_is_finished)
    with connected(cluster.address) as nodes:
        assert nodes.cpus == (1, 1)
        remote = trained(study, tmp_path / "remote", RayExecutor(nodes.request(1, 0)))
    killer.join()
    assert outcome(remote) == outcome(local)
    assert results.write(remote)["scores"] == results.write(local)["scores"]


# A module that Python imports when it starts: the process then does not find `name`, as if it were not installed. (Ray
# adds the driver's folders to the paths of workers, so that hiding it by another path is not enough.)
HIDING = """
import sys
from importlib.machinery import PathFinder

find = PathFinder.find_spec
PathFinder.find_spec = classmethod(lambda cls, name, *rest: None if name == {name!r} else find(name, *rest))
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in str(finder)]
"""


@two_nodes
def test_nodes_with_another_torch_without_srkd_and_without_the_extra(cluster: Any, tmp_path: Path) -> None:
    info = tmp_path / "torch" / "torch-9.9.9.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n", encoding="utf-8")
    for name in ("srkd", "s3fs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "sitecustomize.py").write_text(HIDING.format(name=name), encoding="utf-8")
    nodes = []
    try:
        for name in ("torch", "srkd", "s3fs"):
            path = os.pathsep.join([str(tmp_path / name), os.environ["PYTHONPATH"]])
            nodes.append(second_node(cluster, env_vars={"PYTHONPATH": path}))
        with pytest.raises(SrkdError, match="all nodes need the same srkd") as raised, connected(cluster.address):
            pass
    finally:
        for node in nodes:
            cluster.remove_node(node, allow_graceful=False)
    for fault in (
        "has torch 9.9.9, this machine torch ",
        "srkd is not installed there",
        "has missing s3fs, this machine",
    ):
        assert fault in str(raised.value)


@two_nodes
def test_a_task_whose_worker_keeps_dying_is_lost_and_the_others_are_not(cluster: Any, tmp_path: Path) -> None:
    from srkd.executor import FolderTask

    tasks = [FolderTask(argument, tmp_path / f"run_{argument}") for argument in (1, 0)]
    with connected(cluster.address) as nodes:
        found = dict(RayExecutor(nodes.request(1, 0)).map(ends_if_one, tasks))
        with pytest.raises(SrkdError, match="no node of the cluster has 99 CPUs"):
            nodes.request(99, 0)
    assert isinstance(found[0], SrkdError) and "lost 4 times" in str(found[0])
    assert found[1] == {"finished": True} and (tmp_path / "run_0" / "file").read_text(encoding="utf-8") == "whole"


@two_nodes
def test_from_outside_by_rays_client(cluster: Any, study: dict[str, Any], folder: Path) -> None:
    on, line = f"ray://127.0.0.1:{CLIENT_PORT}", ["upscale", str(folder / "in"), *TORCH]
    assert main([*line, "-o", str(folder / "local")]) == 2
    assert main([*line, "-o", str(folder / "out"), "--on", on]) == 2
    assert contents(folder / "out") == contents(folder / "local")
    study["seeds"] = [0]
    local = trained(study, folder / "study_local")
    with connected(connection.parse_on(on)) as nodes:
        remote = trained(study, folder / "study_remote", RayExecutor(nodes.request(1, 0)))
    assert outcome(remote) == outcome(local)

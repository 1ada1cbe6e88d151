"""Launch files of examples/cluster: manifests, the container's file, job files; and what SLURM's variables mean."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from srkd.cli import main as cli
from srkd.machine import adopt_slurm_step
from srkd.sr.recipe import SRRecipe
from srkd.training.checkpoint import load_weights
from srkd.training.processes import is_leader, make_fabric, started

FOLDER = Path(__file__).parents[2] / "examples" / "cluster"
CONSTRAINTS = (FOLDER.parents[1] / "constraints.txt").read_text(encoding="utf-8")
RAY = re.search(r"^ray==(\S+)$", CONSTRAINTS, re.MULTILINE)[1]  # type: ignore[index]


def manifest(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))


def cluster_specs() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "raycluster.yaml", manifest("raycluster.yaml")["spec"]
    yield "rayjob.yaml", manifest("rayjob.yaml")["spec"]["rayClusterSpec"]


@pytest.mark.parametrize(("name", "kind"), [("raycluster.yaml", "RayCluster"), ("rayjob.yaml", "RayJob")])
def test_the_kind_and_name_of_manifests(name: str, kind: str) -> None:
    found = manifest(name)
    assert (found["apiVersion"], found["kind"]) == ("ray.io/v1", kind)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", found["metadata"]["name"])


def test_clusters_have_images_resources_and_the_tested_version_of_ray() -> None:
    for name, spec in cluster_specs():
        assert spec["rayVersion"] == RAY, name
        groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
        for group in groups:
            assert all(isinstance(value, str) for value in group["rayStartParams"].values()), name
            (container,) = group["template"]["spec"]["containers"]
            assert re.fullmatch(r"[\w./-]+:[\w.-]+", container["image"]) and container["name"].startswith("ray-")
            assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in container["env"]
            for amounts in (container["resources"]["requests"], container["resources"]["limits"]):
                assert re.fullmatch(r"\d+", amounts["cpu"]) and re.fullmatch(r"\d+Gi", amounts["memory"])
        for group in spec["workerGroupSpecs"]:
            assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        assert len({group["groupName"] for group in spec["workerGroupSpecs"]}) == len(spec["workerGroupSpecs"])


def parsed(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """The arguments of a command line as srkd parses them, without running it."""
    import importlib

    assert words[0] == "srkd"
    found: list[Any] = []
    monkeypatch.setattr(importlib.import_module(f"srkd.cli.{words[1]}"), "run", found.append)
    assert cli.main(words[1:]) == 0
    return found[0]


def test_the_job_is_a_command_that_srkd_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = manifest("rayjob.yaml")["spec"]
    assert spec["shutdownAfterJobFinishes"] is True and spec["backoffLimit"] > 0
    args = parsed(shlex.split(spec["entrypoint"]), monkeypatch)
    assert (args.on, args.skip_existing, args.report) == ("ray", True, "s3://bucket/report.jsonl")


def test_the_container_installs_the_extra_on_the_tested_version_of_ray() -> None:
    lines = (FOLDER / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    assert {step for step, _ in steps} <= {"FROM", "WORKDIR", "COPY", "ENV", "RUN"} and steps[0][0] == "FROM"
    assert steps[0][1].startswith(f"rayproject/ray:{RAY}-")
    (run,) = [text for step, text in steps if step == "RUN"]
    assert ".[cluster," in run
    (env,) = [text for step, text in steps if step == "ENV"]
    assert dict(word.split("=") for word in env.split())["RAY_USAGE_STATS_ENABLED"] == "0"


@pytest.mark.parametrize("name", ["train.sbatch", "study.sbatch", "torchrun.sh"])
def test_shell_files(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = FOLDER / name
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    options = re.findall(r"^#SBATCH (.*)$", text, re.MULTILINE)
    assert all(re.fullmatch(r"--[a-z-]+(=[\w:@-]+)?", option) for option in options)
    line = next(line for line in reversed(text.splitlines()) if line)
    words = shlex.split(line.replace("$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT", "1/8").replace("$1", "x.yml"))
    start = words.index("srkd")
    parsed(words[start:], monkeypatch)
    if name.endswith(".sbatch"):
        assert len(options) >= 5 and (words[0] == "srun") == ("--ntasks-per-node=4" in options)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The variables of the second of four tasks on two nodes, as srun sets them."""
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")  # restored after the test
        monkeypatch.delenv(name)
    for name, value in {
        "SLURM_JOB_ID": "4321",
        "SLURM_JOB_NAME": "srkd-train",
        "SLURM_NODELIST": "node[5-6]",
        "SLURM_NNODES": "2",
        "SLURM_NTASKS": "4",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "0",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_a_task_of_a_slurm_step(slurm: pytest.MonkeyPatch) -> None:
    from lightning_fabric.plugins.environments import SLURMEnvironment

    adopt_slurm_step()
    assert [os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")] == list("1412")
    assert started() == 4 and not is_leader()
    assert SLURMEnvironment.detect()
    environment = SLURMEnvironment()
    environment.validate_settings(num_devices=2, num_nodes=2)  # what make_fabric asks for
    assert (environment.global_rank(), environment.world_size(), environment.local_rank()) == (1, 4, 1)
    assert (environment.main_address, environment.main_port) == ("node5", 19321)
    slurm.delenv("MASTER_ADDR")
    slurm.delenv("MASTER_PORT")


def test_torchrun_under_slurm_keeps_its_own_variables(slurm: pytest.MonkeyPatch) -> None:
    slurm.setenv("RANK", "3")
    slurm.setenv("WORLD_SIZE", "8")
    adopt_slurm_step()
    assert os.environ["RANK"] == "3" and started() == 8 and "LOCAL_RANK" not in os.environ


def test_a_batch_script_itself_is_one_process(slurm: pytest.MonkeyPatch, recipe: dict[str, Any]) -> None:
    slurm.delenv("SLURM_STEP_NUM_TASKS")
    slurm.setenv("SLURM_PROCID", "0")
    adopt_slurm_step()
    assert started() == 1 and is_leader()
    fabric = make_fabric(SRRecipe.model_validate({**recipe, "num_gpu": 0}))
    assert fabric.world_size == 1


@pytest.mark.skipif("SRKD_CLUSTER" not in os.environ, reason="four trainings: make test-cluster")
@pytest.mark.timeout(1800)
def test_two_processes_by_torchrun_and_as_slurm_starts_them(
    slurm: pytest.MonkeyPatch, recipe: dict[str, Any], tmp_path: Path
) -> None:
    """Both train the same weights."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    recipe["datasets"]["train"]["batch_size_per_gpu"] = 2
    weights = []
    for way in ("torchrun", "slurm"):
        folder = tmp_path / way
        folder.mkdir()
        (folder / "r.yml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
        plain = {key: value for key, value in os.environ.items() if not key.startswith("SLURM")}
        plain["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{plain['PATH']}"
        if way == "torchrun":
            started = [subprocess.Popen([FOLDER / "torchrun.sh", "r.yml"], cwd=folder, env={**plain, "PORT": port})]
        else:
            one_node = {"SLURM_JOB_ID": "4321", "SLURM_NNODES": "1", "SLURM_NODELIST": "localhost", "SLURM_NODEID": "0"}
            counts = {f"SLURM_{name}": "2" for name in ("NTASKS", "NTASKS_PER_NODE", "STEP_NUM_TASKS")}
            common = {**plain, **one_node, **counts, "SLURM_STEP_NUM_NODES": "1", "MASTER_PORT": port}
            line = [sys.executable, "-m", "srkd", "train", "-opt", "r.yml"]
            started = [
                subprocess.Popen(line, cwd=folder, env={**common, "SLURM_PROCID": rank, "SLURM_LOCALID": rank})
                for rank in ("0", "1")
            ]
        assert [process.wait() for process in started] == [0] * len(started)
        weights.append(load_weights(folder / "experiments/tiny/models/net_g_latest.safetensors")[0])
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])

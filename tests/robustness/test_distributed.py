"""Training in two processes over gloo, one of which ends early: the other reports it, the run can resume."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from robustness import whole
from robustness.victims import Victim, command, run
from srkd.sr.task import Task
from srkd.training.log import read_metrics


@pytest.fixture
def place(recipe: dict[str, Any], tmp_path: Path) -> Path:
    recipe["train"]["total_iter"] = 100_000
    recipe["logger"]["save_checkpoint_freq"] = 2
    recipe["datasets"]["train"]["batch_size_per_gpu"] = 2
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "r.yml").write_text(yaml.safe_dump(recipe))
    return tmp_path / "work"


def pair(place: Path, *calls: Any) -> list[Victim]:
    """Start both processes as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
        "GROUP_RANK": "0",
    }
    victims = []
    for rank, call in enumerate(calls):
        environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        victims.append(Victim(call, place, environment=environment, log=place.parent / f"rank{rank}" / "log"))
    return victims


def _failing() -> int | None:
    """Training whose second batch fails in this process."""
    made = Task.batch

    def batch(task: Task, number: int) -> Any:
        if number == 5:
            raise OSError(5, "Input/output error", "p0.png")
        return made(task, number)

    Task.batch = batch  # type: ignore[method-assign]
    return TRAIN()


TRAIN = command("train", "-opt", "r.yml")


def test_a_killed_process(place: Path) -> None:
    first, second = pair(place, TRAIN, TRAIN)
    metrics = place / "experiments" / "tiny" / "metrics.jsonl"
    deadline = time.monotonic() + 200
    while len(read_metrics(metrics)) < 5 and time.monotonic() < deadline and not first.wait(0.01):
        pass
    second.signal(signal.SIGKILL)
    ended = first.end(30)
    assert ended.code == 1, ended.output
    assert "another process" in ended.output and "--auto_resume" in ended.output and "Traceback" not in ended.output
    whole.check(place)
    go_on = ("train", "-opt", "r.yml", "--auto_resume", "--budget", "0")
    rejected = run(command(*go_on), place)
    assert rejected.code == 1 and "because the global batch" in rejected.output and "Traceback" not in rejected.output
    resumed = run(command(*go_on, "--set", "datasets.train.batch_size_per_gpu=4"), place)
    assert resumed.code == 0 and "stopped at step" in resumed.output


def test_a_failing_process(place: Path) -> None:
    first, second = pair(place, TRAIN, _failing)
    assert second.end(60).output.splitlines()[-1] == "srkd: p0.png: Input/output error"
    ended = first.end(30)
    assert ended.code == 1 and "another process" in ended.output and "Traceback" not in ended.output

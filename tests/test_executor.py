"""Several trainings at a time on this machine: the results of one after another; nothing is left behind by a signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cluster_runs import outcome, trained
from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.executor import FolderTask, ProcessExecutor, Result
from srkd.studies.runs import Comparison

STARTED = "started"


def square(argument: int, folder: Path, budget: float | None) -> Result:
    return {"finished": True, "value": argument**2, "threads": torch.get_num_threads(), "process": os.getpid()}


def fail(argument: int, folder: Path, budget: float | None) -> Result:
    raise SrkdError(f"{argument} failed")


def die(argument: int, folder: Path, budget: float | None) -> Result:
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def die_first(argument: int, folder: Path, budget: float | None) -> Result:
    return square(argument, folder, budget) if argument else die(argument, folder, budget)


def wait(argument: int, folder: Path, budget: float | None) -> Result:
    """Wait for a signal, as a training does that then saves its state."""
    received: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: received.append(number))
    (folder / STARTED).write_text(str(os.getpid()))
    while not received:
        time.sleep(0.01)
    (folder / "saved").touch()
    return {"finished": False, "signal": received[0]}


def tasks(count: int, folder: Path = Path()) -> list[FolderTask]:
    return [FolderTask(number, folder) for number in range(count)]


def until(condition: Any, seconds: float = 60) -> None:
    start = time.monotonic()
    while not condition():
        assert time.monotonic() < start + seconds
        time.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text("utf-8").split()[2] != "Z"
    except OSError:
        return False


def test_every_task_gives_its_result_in_a_process_of_its_threads() -> None:
    found: dict[int, Any] = dict(ProcessExecutor(2, 1).map(square, tasks(4)))
    assert {number: result["value"] for number, result in found.items()} == {0: 0, 1: 1, 2: 4, 3: 9}
    assert {result["threads"] for result in found.values()} == {1}
    assert os.getpid() not in {result["process"] for result in found.values()}


def test_errors_are_results() -> None:
    found = dict(ProcessExecutor(1, 1).map(fail, tasks(2)))
    assert {number: str(error) for number, error in found.items()} == {0: "0 failed", 1: "1 failed"}


@pytest.mark.parametrize("count", [1, 4])
def test_a_killed_process_costs_only_its_own_task(count: int) -> None:
    killed, *others = (result for _, result in sorted(ProcessExecutor(2, 1).map(die_first, tasks(count))))
    assert isinstance(killed, SrkdError) and "use fewer --jobs" in str(killed)
    assert [result["value"] for result in others] == [1, 4, 9][: count - 1]


def test_nothing_begins_after_the_budget() -> None:
    assert list(ProcessExecutor(1, 1).map(square, tasks(3), budget=0)) == []


def test_a_study_with_jobs_is_that_of_one_process_to_the_bit(study: dict[str, Any], tmp_path: Path) -> None:
    local = trained(study, tmp_path / "local")  # in one thread, as all tests
    out = tmp_path / "out"
    assert main(["compare", str(tmp_path / "local" / "study.yml"), "--jobs", "2", "--output", str(out)]) == 0
    expected, found = outcome(local), outcome(Comparison(local.study, out))
    assert {name: found[name] for name in expected} == expected  # the command adds tables and a report


def test_an_interruption_lets_tasks_save(tmp_path: Path) -> None:
    running = ProcessExecutor(1, 1).map(wait, tasks(2, tmp_path))
    with pytest.raises(KeyboardInterrupt):
        _interrupted(running, tmp_path)
    assert (tmp_path / "saved").exists()


def _interrupted(running: Any, folder: Path) -> None:
    """Raise KeyboardInterrupt in the main thread while the first task runs."""
    process = os.getpid()
    helper = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import os, time, signal\nwhile not os.path.exists({str(folder / STARTED)!r}): time.sleep(0.02)\n"
            f"time.sleep(0.1)\nos.kill({process}, signal.SIGINT)",
        ]
    )
    try:
        next(running)
    finally:
        helper.wait()


def test_processes_end_with_a_killed_parent(tmp_path: Path) -> None:
    code = (
        f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_executor import ProcessExecutor, tasks, wait\n"
        f"if __name__ == '__main__':\n    list(ProcessExecutor(1, 1).map(wait, tasks(1, Path({str(tmp_path)!r}))))\n"
    )
    script = tmp_path / "script.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, str(script)])
    until((tmp_path / STARTED).exists)
    time.sleep(0.1)
    child = int((tmp_path / STARTED).read_text())
    parent.kill()
    parent.wait()
    until(
        lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text("utf-8").split()[2]
    )
    assert not (tmp_path / "saved").exists()


def test_the_command_says_what_is_wrong(
    study: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "study.yml"
    path.write_text(yaml.safe_dump(study))
    assert main(["compare", str(path), "--jobs", "0"]) == 1
    assert "--jobs must be at least 1, got 0" in capsys.readouterr().err
    assert main(["compare", str(path), "--jobs", "2", "--on", "ray"]) == 1
    assert "--jobs is for this machine" in capsys.readouterr().err

"""Runs in private copies of their folders give the results of local runs, to the bit. Ray itself: test_ray.py."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from cluster_runs import Private, outcome, trained
from srkd.cluster import executor as executors
from srkd.cluster.executor import read_folder, replace_folder
from srkd.commands import zoo as zoo_commands
from srkd.errors import SrkdError
from srkd.executor import FolderTask, LocalExecutor, Result
from srkd.networks import zoo
from srkd.studies import results
from srkd.training.checkpoint import load_weights


def test_a_study_is_the_local_one_to_the_bit(study: dict[str, Any], tmp_path: Path) -> None:
    local = trained(study, tmp_path / "local")
    executor = Private(lost=True)
    remote = trained(study, tmp_path / "remote", executor)
    assert executor.calls == 4
    assert outcome(remote) == outcome(local)
    scores = [results.write(each)["scores"] for each in (local, remote)]
    assert scores[0] == scores[1]
    again = Private()
    assert trained(study, tmp_path / "remote", again) and again.calls == 0  # what is whole is skipped


def test_slices_and_budgets_continue_to_the_same_bits(study: dict[str, Any], tmp_path: Path) -> None:
    study |= {"seeds": [0], "variants": study["variants"][:1]}
    local = outcome(trained(study, tmp_path / "local"))
    results_of_runs = [name for name in local if name.endswith((".safetensors", ".json"))]
    assert len(results_of_runs) == 4
    sliced = Private(slices=[0.0, 0.0, 0.0])
    found = outcome(trained(study, tmp_path / "sliced", sliced))
    assert sliced.calls == 5  # the first run was stopped after each of its first three steps
    assert all(found[name] == local[name] for name in results_of_runs)
    stopped = trained(study, tmp_path / "budget", Private(), budget=1e-9)
    assert all((stopped.result(v.name, 0) or {})["status"] == "begun" for v in stopped.study.variants)
    found = outcome(trained(study, tmp_path / "budget", Private()))
    assert all(found[name] == local[name] for name in results_of_runs)


def test_a_lost_run_is_recorded_and_the_others_continue(study: dict[str, Any], tmp_path: Path) -> None:
    class Losing(Private):
        def map(self, *args: Any, **options: Any) -> Iterator[tuple[int, Result | SrkdError]]:
            for number, result in super().map(*args, **options):
                yield number, SrkdError("the task was lost 4 times: node died") if number == 0 else result

    found = results.summarise(trained(study, tmp_path / "out", Losing()))
    assert [(run["variant"], run["seed"]) for run in found["failed"]] == [("control", 0)]
    assert len(found["runs"]) == 3


class OneWorker:
    """Ray, as far as an executor uses it, with one worker: tasks wait for those before them."""

    def remote(self, **_: Any) -> Callable[..., Any]:
        return lambda function: SimpleNamespace(remote=lambda *arguments: partial(function, *arguments))

    def wait(self, references: list[Any], num_returns: int) -> tuple[list[Any], list[Any]]:
        return references[:num_returns], references[num_returns:]

    def get(self, reference: Any) -> Any:
        return reference()


@pytest.mark.parametrize(("slices", "begun"), [(600.0, [0]), (10.0, [0, 1, 2])])
def test_a_budget_includes_the_time_that_tasks_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slices: float, begun: list[int]
) -> None:
    now = [0.0]

    def work(argument: Any, folder: Path, seconds: float | None) -> Result:
        assert seconds is not None and seconds > 0
        now[0] += seconds
        return {"finished": False, "task": argument}

    monkeypatch.setitem(sys.modules, "ray", OneWorker())
    monkeypatch.setattr(executors, "time", SimpleNamespace(time=lambda: now[0], monotonic=lambda: now[0]))
    tasks = [FolderTask(number, tmp_path / str(number)) for number in range(4)]
    results = list(executors.RayExecutor({"num_cpus": 1.0}, slices).map(work, tasks, budget=25.0))
    assert now[0] == 25.0
    assert sorted(results, key=str) == [(number, {"finished": False, "task": number}) for number in begun]


def test_files_of_the_user_stay(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    replace_folder(folder, {"a": b"1", "states/1.pt": b"1"}, ())
    sent = read_folder(folder)
    (folder / "note.txt").write_text("mine")
    (folder / ".lock").touch()
    replace_folder(folder, {"a": b"2", "states/2.pt": b"2"}, sent)
    assert read_folder(folder) == {"a": b"2", "states/2.pt": b"2", "note.txt": b"mine"}
    assert (folder / ".lock").exists() and read_folder(tmp_path / "none") == {}


def test_several_zoo_models(recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zoo, "folder", lambda name: tmp_path / "models" / name)
    for name in ("one", "two"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / "recipe.yml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    for results_ in (zoo_commands.train_all(["one"]), zoo_commands.train_all(["two"], executor=Private(lost=True))):
        assert [result["finished"] for result in results_] == [True]
    weights = [load_weights(tmp_path / "models" / name / "weights.safetensors")[0] for name in ("one", "two")]
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])
    with pytest.raises(SrkdError, match=r"one: .*manual_seed.*; two: "):
        zoo_commands.train_all(["one", "two"], ["manual_seed=9"], executor=LocalExecutor())


def test_requests_become_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    counts: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    executors.use_own_threads(3)
    assert counts == [3]

"""What tests of clusters start: studies, tasks without Ray, and a task that ends its process."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from srkd.cluster.executor import _in_private_folder, read_folder, replace_folder
from srkd.errors import SrkdError
from srkd.executor import FolderTask, Result, Work
from srkd.studies import plan
from srkd.studies.runs import Comparison
from srkd.training.checkpoint import load_state, load_weights

TIMES = ("seconds", "steps_per_second", "time")


class Private:
    """The tasks of `RayExecutor` without Ray: last task first, in slices, and a node lost in the middle of each."""

    def __init__(self, slices: Sequence[float] = (), lost: bool = False) -> None:
        self.slices, self.lost, self.calls = list(slices), lost, 0

    def map(
        self, work: Work, tasks: Sequence[FolderTask], budget: float | None = None
    ) -> Iterator[tuple[int, Result | SrkdError]]:
        for number in reversed(range(len(tasks))):
            task, done = tasks[number], False
            while not done:
                sent = read_folder(task.folder)
                seconds = self.slices.pop() if self.slices else budget or 1000.0
                arguments = (work, task.argument, task.folder.name, sent, seconds, 1)
                if self.lost:
                    _in_private_folder(*arguments)  # its results never arrive
                result, files = _in_private_folder(*arguments)
                replace_folder(task.folder, files, sent)
                self.calls += 1
                done = result["finished"] or budget is not None
            yield number, result

    def require(self, folder: Path) -> None:
        pass


def trained(study: dict[str, Any], folder: Path, executor: Any = None, budget: float | None = None) -> Comparison:
    folder.mkdir(exist_ok=True)
    (folder / "study.yml").write_text(yaml.safe_dump(study), encoding="utf-8")
    comparison = Comparison(plan.read(folder / "study.yml"), folder / "out")
    comparison.check()
    comparison.train(quiet=True, executor=executor, budget=budget)
    return comparison


def outcome(comparison: Comparison) -> dict[str, Any]:
    """Everything that a study writes, without times."""

    def timeless(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: timeless(each) for key, each in value.items() if key not in TIMES}
        return [timeless(each) for each in value] if isinstance(value, list) else value

    found: dict[str, Any] = {}
    for path in sorted(comparison.folder.rglob("*")):
        name = path.relative_to(comparison.folder).as_posix()
        if path.suffix == ".safetensors":
            state, _ = load_weights(path)
            found[name] = {key: tensor.numpy().tobytes() for key, tensor in state.items()}
        elif path.suffix == ".json":
            found[name] = timeless(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".pt":
            found[name] = load_state(path)["step"]
        elif path.is_file() and path.name != ".lock":
            found[name] = None if path.suffix == ".jsonl" else path.read_bytes()
    return found


def with_untrained_rounds(compressed: Path, folder: Path) -> None:
    """Copy a finished compression without its runs, so that the same plan (whose steps follow from measured speeds) is
    trained again."""
    shutil.copytree(compressed, folder)
    for path in (folder / "work").glob("round_*.json"):
        if not path.stem.endswith("_plan"):
            path.unlink()
    for run in (folder / "work" / "runs").glob("round_*"):
        shutil.rmtree(run)


def trained_rounds(compressed: Path) -> dict[str, tuple[dict[str, bytes], float]]:
    """Weights and PSNR of each candidate of each round."""
    found = {}
    for run in sorted((compressed / "work" / "runs").glob("round_*")):
        weights, _ = load_weights(run / "models" / "net_g_latest.safetensors")
        psnr = json.loads((compressed / "work" / f"{run.name}.json").read_text(encoding="utf-8"))["psnr"]
        found[run.name] = {name: tensor.numpy().tobytes() for name, tensor in weights.items()}, psnr
    return found


def ends_if_one(argument: int, folder: Path, budget: float | None) -> dict[str, Any]:
    """A task that ends its worker process, or writes a file."""
    if argument:
        os._exit(1)
    folder.mkdir()
    (folder / "file").write_text("whole", encoding="utf-8")
    return {"finished": True}

"""Runs that tests of clusters start: studies, and a task that ends its process."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import yaml

from srkd.studies import plan
from srkd.studies.runs import Comparison
from srkd.training.checkpoint import load_state, load_weights

TIMES = ("seconds", "steps_per_second", "time")


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


def ends_if_one(argument: int, folder: Path, budget: float | None) -> dict[str, Any]:
    """A task that ends its worker process, or writes a file."""
    if argument:
        os._exit(1)
    folder.mkdir()
    (folder / "file").write_text("whole", encoding="utf-8")
    return {"finished": True}

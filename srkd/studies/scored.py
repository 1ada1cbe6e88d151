"""One run of a study: its training and scores, as a record of plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srkd.errors import SrkdError
from srkd.machine import processor_and_threads
from srkd.training.log import read_metrics
from srkd.training.run import Run


@dataclass(frozen=True)
class RunSpec:
    """What a run of a study depends on, as plain data: its recipe, the fields of its record, and what is measured."""

    data: dict[str, Any]
    record: dict[str, Any]
    extra_parameters: int
    task_terms: list[str]


def train_and_score(spec: RunSpec, folder: Path, budget: float | None, quiet: bool = True) -> dict[str, Any]:
    """Train and score one run in its folder (`srkd.executor.Work`).

    Returns:
        The record with `finished`: True, and `status`: "finished" or "failed"; or {"finished": False, "signal"} if the
        budget or a signal stopped it.
    """
    try:
        run = Run(spec.data, folder.parent, resume=True, budget=budget, quiet=quiet)
        trained = run.train()
        if not trained["finished"]:
            return {"finished": False, "signal": trained["signal"]}
        scores = run.task_type.item_scores(trained, spec.record["sets"])
        logs = [read_metrics(each / "metrics.jsonl") for _, each in run.stages]
    except Exception as error:
        message = str(error) if isinstance(error, SrkdError) else f"{type(error).__name__}: {error}"
        return {"finished": True, **spec.record, "status": "failed", "error": message}
    measured = {
        "seconds": round(sum(map(_seconds, logs)), 3),
        # On another machine `precision: auto` may mean another one, and seconds are not comparable.
        "machine": processor_and_threads(),
        "precision": trained["precision"],
        "extra_parameters": spec.extra_parameters,
        "terms": _terms(logs[-1], spec.task_terms),
        "curves": _curves(logs[-1]),
        "health": run.task_type.health(logs[-1]),
    }
    return {"finished": True, **spec.record, "status": "finished", **measured, "scores": scores}


def _seconds(records: Sequence[Mapping[str, Any]]) -> float:
    """Training time in seconds from the log, which includes the parts before interruptions."""
    seconds, last = 0.0, 0
    for record in records:
        if "steps_per_second" in record:
            seconds += (record["step"] - last) / max(record["steps_per_second"], 1e-9)
            last = record["step"]
    return seconds


def _terms(records: Sequence[Mapping[str, Any]], task: Sequence[str]) -> dict[str, dict[str, float]]:
    """For each term, the means over the run of its gradient norm relative to the task terms and its cosine to them."""
    found: dict[str, dict[str, list[float]]] = {}
    for record in records:
        norms = {key.removeprefix("grad/"): value for key, value in record.items() if key.startswith("grad/")}
        task_norm = sum(norms.get(name, 0.0) for name in task)
        for name, norm in norms.items():
            row = found.setdefault(name, {"share": [], "cosine": []})
            if task_norm > 0:
                row["share"].append(norm / task_norm)
            if f"cos/{name}" in record:
                row["cosine"].append(record[f"cos/{name}"])
    return {
        name: {key: sum(values) / len(values) for key, values in row.items() if values} for name, row in found.items()
    }


def _curves(records: Sequence[Mapping[str, Any]]) -> dict[str, list[list[float]]]:
    """Validation scores by name: [step, value] pairs."""
    curves: dict[str, list[list[float]]] = {}
    for record in records:
        for key, value in record.items():
            if key.startswith("val/"):
                curves.setdefault(key.removeprefix("val/"), []).append([record["step"], value])
    return curves

"""The report and the model card of a compression, generated from the content of results.json."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from srkd.compression.job import clock
from srkd.inference.export import COLUMNS as FILE_COLUMNS
from srkd.metrics.psnr import PSNR, pooled
from srkd.metrics.registry import rounded, titles
from srkd.report import html, plots, sections, tables
from srkd.report.html import PageSection
from srkd.sr.report import Details
from srkd.training.log import read_metrics

QUALITY = PSNR().title
_COST = ["ms", "file (MB)", "peak memory (MB)", "parameters"]
COLUMNS = ["model", "runs on", *titles(), *_COST]
_TRIED = ["candidate", "round", "steps", QUALITY, "ms", "MB", "parameters"]
_REFUSED = ["candidate", "ms", "MB", "parameters", "why"]
Results = dict[str, Any]


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """`COLUMNS`, and those of further metrics that some row has."""
    more = [title for row in rows for title in row if title not in (*COLUMNS, "protocol")]
    return ["model", "runs on", *titles(), *dict.fromkeys(more), *_COST]


def summary(results: Results) -> str:
    """The result in two sentences."""
    psnr = {row["model"].split()[0]: row[QUALITY] for row in results["rows"]}
    missed = results["missed"]
    status = f"OVER its budget: {missed}" if missed else f"within its budget of {results['budget']}"
    others = [name for name in psnr if name != "student" and psnr[name] is not None]
    differences = [f"{_difference(results, other):+.2f} dB to {other}" for other in others]
    if _imitates(results):
        differences[0] = f"{psnr['student']:.2f} dB to the teacher's outputs, {differences[0]}"
    return (
        f"The student {results['student']} is {status} on {results['runtime']}, {results['faster']:,.0f} times faster "
        f"than its teacher. On held-out photographs: {', '.join(differences)}."
    )


def _difference(results: Results, other: str) -> float:
    """The student's PSNR minus another's: of the means, or if they are infinite, of the error over all images."""
    psnr = {row["model"].split()[0]: row[QUALITY] for row in results["rows"]}
    difference = float(psnr["student"] - psnr[other])
    if math.isfinite(difference):
        return difference
    each = {
        row["model"]: [image["psnr"] for scores in row["sets"].values() for image in scores["images"]]
        for row in results["images"]
    }
    return pooled(each["student"]) - pooled(each[other])


def _imitates(results: Results) -> bool:
    return bool(results.get("request", {}).get("imitate"))


def report(results: Results, details: Details, runs: Path) -> str:
    """The report as HTML. `runs` is the folder of the training runs, for their curves."""
    recipe = (runs / "student" / "recipe.yml").read_text(encoding="utf-8")
    shown: list[PageSection] = [
        {
            "heading": "Result",
            "paragraphs": [summary(results)],
            "table": {"rows": results["rows"], "columns": columns(results["rows"]), "caption": _how_measured(results)},
        },
        *_pareto(results),
        *details.sections(),
        *_tables(results),
        *_curves(runs, _imitates(results)),
        _images(results),
        {"heading": "How it was made", "paragraphs": _protocol(results)},
        {"heading": "How to use it", "paragraphs": [f"{what}: {how}" for what, how in _use(results)]},
        {"heading": "Recipe of the student", "recipe": recipe},
    ]
    return html.page(f"{results['student']} from {_teacher(results)}", shown, summary(results), "compress")


def _how_measured(results: Results) -> str:
    width, height = results["request"]["budget"]["at"]
    to = "All scores are to the teacher's outputs. " if _imitates(results) else ""
    return (
        f"{to}Times (input {width}x{height}, batch 1) and memory were each measured in a separate process on "
        f"{results['machine']}."
    )


def _teacher(results: Results) -> str:
    return str(next(row["model"] for row in results["rows"] if row["model"].startswith("teacher")))


def _pareto(results: Results) -> list[PageSection]:
    """Every candidate after its last (longest) run, the final student and the teacher."""
    last = {row["candidate"]: {**row, "model": row["candidate"]} for row in results["candidates"]}
    ends = [row for row in results["rows"] if row["model"].startswith(("student", "teacher"))]
    caption = "Candidates after their last short run; the student after its full training. Held-out crops."
    return sections.pareto([*last.values(), *ends], ["model"], "ms", QUALITY, caption)


def _tables(results: Results) -> list[PageSection]:
    shown: list[PageSection] = []
    for heading, rows, columns in (
        ("Files", results["files"], FILE_COLUMNS),
        ("Candidates that were trained", results["candidates"], _TRIED),
        ("Candidates that do not fit", results["refused"], _REFUSED),
    ):
        if rows:
            rounded = [{k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
            shown.append({"heading": heading, "table": {"rows": rounded, "columns": columns}})
    return shown


def _curves(runs: Path, imitates: bool) -> list[PageSection]:
    series = []
    for name in ("control", "student"):
        records = [r for r in read_metrics(runs / name / "metrics.jsonl") if "l_L1Loss" in r]
        if records:
            series.append({"label": name, "x": [r["step"] for r in records], "y": [r["l_L1Loss"] for r in records]})
    target = "L1 to the teacher, of the control to the ground truth" if imitates else "L1 to the ground truth"
    plot = plots.curves(series, "step", target, log=True)
    return [{"heading": "Training", "plot": {**plot, "caption": "Same seed, batches and steps."}}] if series else []


def _images(results: Results) -> PageSection:
    rows = [
        {
            "image": image["name"],
            "model": row["model"],
            **rounded(image),
            "protocol": scores["protocol"]["stamp"],
        }
        for row in results["images"]
        for scores in row["sets"].values()
        for image in scores["images"]
    ]
    return {"heading": "Every image", "table": {"rows": rows, "columns": ["image", "model", *titles()]}}


def _protocol(results: Results) -> list[str]:
    crops, request = results["crops"], results["request"]
    rounds = max((run["round"] for run in results["candidates"]), default=0)
    choice = (
        f"Rounds of successive halving: {rounds}; in each, all candidates were trained from the start for equal time."
    )
    if not rounds:
        choice = "There was time to train only one candidate: the one with the most multiply-adds."
    control = " The control is the same without the teacher. With one seed, small differences are not significant."
    others = sum(crops["left out"].values())
    return [
        f"{crops['photographs']} photographs ({others} more were left out). Held out, to choose the student and for "
        f"the scores above, which are therefore slightly optimistic: {', '.join(crops['held out'])}.",
        f"Timed with a small EDSR, in ms: {', '.join(f'{name} {ms:g}' for name, ms in results['runtimes'].items())}.",
        f"The teacher's outputs for {results['said']} were computed once and used for all candidates.",
        *([f"The photographs were degraded like those of the user: {results['like']}."] if "like" in results else []),
        f"{choice} The student was then trained for {results['steps']:,} steps, seed {request['seed']}."
        f"{control if request['control'] else ''}",
        f"It took {clock(results['seconds'])} of {clock(results['seconds given'])} requested.",
    ]


def _use(results: Results) -> list[tuple[str, str]]:
    return [
        ("from the command line", "srkd upscale photos/ -o large/ --model student.safetensors"),
        ("from Python", 'srkd.load("student.safetensors").upscale("photo.png")'),
        ("an exported file", 'srkd.inference.backends.open_file(Path("student.xml"))(pixels)'),
        ("measure it yourself", "srkd evaluate --model student.safetensors --data Set5"),
    ]


def card(results: Results) -> str:
    """The model card as Markdown."""
    options = ", ".join(f"{k} {v}" for k, v in results["network"].items() if k != "type")
    steps = "\n".join(_wrapped(f"- {line}") for line in _protocol(results))
    use = "\n".join(f"- {what}: `{how}`" for what, how in _use(results))
    files = f"## Files\n\n{tables.markdown(results['files'], FILE_COLUMNS)}\n\n" if results["files"] else ""
    if results.get("not exported"):
        files += f"{_wrapped('Not exported: ' + results['not exported'])}\n\n"
    return f"""# {results["student"]} from {_teacher(results)}

{results["network"]["type"]} ({options}) for x{results["scale"]}.

{_wrapped(summary(results))}

## Scores

{tables.markdown(results["rows"], columns(results["rows"]))}

{_wrapped(_how_measured(results))}

{files}## How it was made

{steps}

## Use

{use}

The licence of the weights depends on those of the teacher and the photographs: check them before you redistribute it.
"""


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, subsequent_indent="  " if text.startswith("- ") else "")

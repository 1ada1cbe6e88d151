"""The report of a finished run (report.html): scores, image details, curves and the resolved recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from srkd.files.atomic import write_text
from srkd.report import html, sections
from srkd.report.html import PageSection
from srkd.training.log import read_metrics
from srkd.training.run import Run


def write(run: Run, result: Mapping[str, Any]) -> Path:
    """Write report.html into the run's folder and return its path.

    Args:
        result: the value returned by `run.train()` for a finished run.

    Raises:
        SrkdError: validation images or networks can no longer be read, or the folder cannot be written.
    """
    recipe, _ = run.stages[-1]
    found: list[PageSection] = [*run.task_type.report_sections(recipe, result)]
    for number, (_, folder) in enumerate(run.stages, 1):
        curves = sections.training(read_metrics(folder / "metrics.jsonl"))
        found += [_of_stage(section, number) for section in curves] if len(run.stages) > 1 else curves
    recipes = [(folder / "recipe.yml").read_text(encoding="utf-8") for _, folder in run.stages]
    found.append({"heading": "Recipe", "recipe": "\n---\n".join(recipes)})
    networks = ", ".join(result["models"].values())
    lead = f"{result['step']:,} steps, seed {recipe.manual_seed}. {networks}"
    path = run.folder / "report.html"
    write_text(path, html.page(run.recipe.name, found, lead, "train"))
    return path


def _of_stage(section: PageSection, number: int) -> PageSection:
    return {**section, "heading": f"Stage {number}: {section['heading']}"}

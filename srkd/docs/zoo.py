"""The zoo's pages, from the recipe.yml, metrics.json and curve.json of each model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from srkd.commands.cards import card
from srkd.docs.markdown import cell, code, table
from srkd.integrations import external
from srkd.metrics import published
from srkd.metrics.psnr import PSNR
from srkd.metrics.registry import DEFAULT, texts, titles
from srkd.networks import zoo
from srkd.report import plots
from srkd.training.recipe import read

_PSNR = PSNR()
Content = str | bytes


def pages() -> Iterator[tuple[str, Content]]:
    """Path and content of each page and plot."""
    yield "zoo/index.md", _index()
    for name in zoo.trained():
        if zoo.metrics(name):
            yield from _model(name)


def _model(name: str) -> Iterator[tuple[str, Content]]:
    folder, place = zoo.folder(name), f"zoo/{name}"
    page = card(name, read(folder / "recipe.yml"), zoo.metrics(name))
    image, curve = folder / "image.png", folder / "curve.json"
    if image.is_file():
        yield f"{place}/image.png", image.read_bytes()
    else:
        page = re.sub(r"!\[[^\]]*\]\(image\.png\)\n*", "", page)
    if curve.is_file() and (drawn := _curve(json.loads(curve.read_text(encoding="utf-8")))):
        page += "\n## Training\n\n![PSNR over the steps of training](curve.svg)\n"
        yield f"{place}/curve.svg", drawn
    recipe = (folder / "recipe.yml").read_text(encoding="utf-8")
    yield f"{place}/index.md", f"{page}\n## Recipe\n\n```yaml\n{recipe.rstrip()}\n```\n"


def _curve(records: list[dict[str, Any]]) -> bytes | None:
    series: dict[str, dict[str, Any]] = {}
    for record in records:
        for key, value in record.items():
            if key.startswith("val/psnr_"):
                label = key.removeprefix("val/psnr_")
                line = series.setdefault(label, {"label": label, "x": [], "y": []})
                line["x"].append(record["step"])
                line["y"].append(value)
    return plots.draw(plots.curves(list(series.values()), "step", _PSNR.title)) if series else None


def _index() -> str:
    measured = {name: zoo.metrics(name) for name in zoo.trained() if zoo.metrics(name)}
    sets = list(dict.fromkeys(name for metrics in measured.values() for name in metrics["sets"]))
    head = ["model", "scale", "parameters", "G multiply-adds", "ms at 256x256", *sets, "teacher", "licence"]
    rows = [[f"[{name}]({name}/index.md)", *_row(metrics, sets)] for name, metrics in measured.items()]
    intro = (
        "Models included in srkd, as measured by `srkd zoo verify`: multiply-adds for an output of 1280x720, time on "
        f"the machine named in the model's card, {'/'.join(titles())} on Y by the usual protocol."
    )
    parts = ["# Zoo", intro, table(head, rows)]
    if waiting := [name for name in zoo.names() if name not in measured]:
        parts.append(f"Recipes that are not trained or not measured yet: {', '.join(map(code, waiting))}.")
    parts += ["## Downloaded on first use", _fetched()]
    return "\n\n".join(parts) + "\n"


def _row(metrics: dict[str, Any], sets: list[str]) -> list[str]:
    scores = [_scores(metrics["sets"].get(name)) for name in sets]
    multiply_adds, milliseconds = metrics["multiply_adds_1280x720"] / 1e9, metrics["latency_ms_256x256"]
    cost = [f"x{metrics['scale']}", f"{metrics['parameters']:,}", f"{multiply_adds:.1f}", str(milliseconds)]
    return [*cost, *scores, cell(metrics["teacher"] or "none"), cell(metrics["licence"])]


def _scores(found: dict[str, Any] | None) -> str:
    return "/".join(texts({name: found[name] for name in DEFAULT}, brief=True).values()) if found else "-"


def _fetched() -> str:
    """Checkpoints of other authors, with their published scores."""
    rows = []
    for name, entry in sorted(external.entries().items()):
        scores = published.entry(entry.published).scores(entry.scale) if entry.published else {}
        reported = ", ".join(f"{key} {_PSNR.text(value['psnr'], brief=True)}" for key, value in scores.items()) or "-"
        paper, licence = cell(entry.paper), cell(entry.licence)
        rows.append([code(name), f"x{entry.scale}", f"{entry.parameters:,}", reported, paper, licence])
    return table(["model", "scale", "parameters", f"published {_PSNR.title}", "paper", "licence"], rows)

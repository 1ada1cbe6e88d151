"""The zoo's pages, from recipe.yml, metrics.json and curve.json of each model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from srkd.docs.markdown import cell, code, table
from srkd.engine.recipe import read
from srkd.integrations import external
from srkd.report import plots
from srkd.sr import zoo
from srkd.study.cards import card

Content = str | bytes


def pages() -> Iterator[tuple[str, Content]]:
    """Path and content of each page and plot."""
    yield "zoo/index.md", _index()
    for name in zoo.trained():
        metrics = zoo.metrics(name)
        if not metrics:
            continue
        curve = zoo.folder(name) / "curve.json"
        page = card(name, read(zoo.folder(name) / "recipe.yml"), metrics)
        if curve.is_file() and (drawn := _curve(json.loads(curve.read_text(encoding="utf-8")))):
            page += f"\n## While training\n\n![PSNR over the steps of training]({name}.svg)\n"
            yield f"zoo/{name}.svg", drawn
        recipe = (zoo.folder(name) / "recipe.yml").read_text(encoding="utf-8")
        yield f"zoo/{name}.md", f"{page}\n## Recipe\n\n```yaml\n{recipe.rstrip()}\n```\n"


def _curve(records: list[dict[str, Any]]) -> bytes | None:
    series: dict[str, dict[str, Any]] = {}
    for record in records:
        for key, value in record.items():
            if key.startswith("val/psnr_"):
                label = key.removeprefix("val/psnr_")
                line = series.setdefault(label, {"label": label, "x": [], "y": []})
                line["x"].append(record["step"])
                line["y"].append(value)
    return plots.draw(plots.curves(list(series.values()), "step", "PSNR (dB)")) if series else None


def _index() -> str:
    rows = []
    for name in zoo.names():
        metrics = zoo.metrics(name)
        if name in zoo.trained() and metrics:
            rows.append([f"[{name}]({name}.md)", *_measured(metrics)])
    head = [
        "model",
        "scale",
        "parameters",
        "G multiply-adds",
        "ms at 256x256",
        "PSNR (dB) / SSIM",
        "teacher",
        "licence",
    ]
    waiting = [name for name in zoo.names() if name not in zoo.trained()]
    parts = ["# Zoo", "Models that come with srkd. Each was measured by `srkd zoo verify`; a page holds its card."]
    parts.append(table(head, rows))
    if waiting:
        parts.append(f"Recipes that are not trained yet: {', '.join(map(code, waiting))}.")
    parts += ["## Fetched on first use", _fetched()]
    return "\n\n".join(parts) + "\n"


def _measured(metrics: dict[str, Any]) -> list[str]:
    scores = ", ".join(f"{name} {s['psnr']:.2f} / {s['ssim']:.4f}" for name, s in metrics["sets"].items())
    return [
        f"x{metrics['scale']}",
        f"{metrics['parameters']:,}",
        f"{metrics['multiply_adds_1280x720'] / 1e9:.1f}",
        str(metrics["latency_ms_256x256"]),
        scores,
        cell(metrics["teacher"] or "none"),
        cell(metrics["licence"]),
    ]


def _fetched() -> str:
    """Other people's checkpoints: what is known of them is what was published."""
    rows = []
    for name, entry in sorted(external.entries().items()):
        published = ", ".join(f"{key} {value}" for key, value in entry.published.items())
        paper, licence = cell(entry.paper), cell(entry.licence)
        rows.append([code(name), f"x{entry.scale}", f"{entry.parameters:,}", published, paper, licence])
    return table(["model", "scale", "parameters", "published PSNR (dB)", "paper", "licence"], rows)

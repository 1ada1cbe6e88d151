"""Report sections on super-resolution networks: scores, also of each image, and details side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from srkd.data.sets import open_set
from srkd.data.store import ImageStore
from srkd.files.atomic import write_json, write_text
from srkd.images.resize import imresize
from srkd.inference.model import Model
from srkd.metrics import against, registry
from srkd.metrics.evaluation import measure, open_model, table
from srkd.report import crops, html, sections, tables
from srkd.report.html import PageSection
from srkd.sr.recipe import SRRecipe
from srkd.sr.training_images import validation_images
from srkd.training.log import Progress


class Details:
    """Collects, during an evaluation, the outputs for the first image of each set, for crops where bicubic is worst.

    Always the first image, so that the choice favours no model.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[str, np.ndarray]] = {}
        self.titles: dict[str, str] = {}

    def __call__(self, model: str, name: str, store: ImageStore, number: int, output: np.ndarray) -> None:
        """Add the output of a model for image `number` of the set `name`; only the first image is kept."""
        if number == 0:
            first = {"HR": store.hr(0), "bicubic": imresize(store.lr(0), store.hr(0).shape[0] / store.lr(0).shape[0])}
            self.found.setdefault(name, first)[model] = output
            self.titles[name] = store.name(0)

    def sections(self, notes: Mapping[str, Mapping[str, str]] | None = None) -> list[PageSection]:
        """One section per set, with a slider between bicubic and the last model.

        Args:
            notes: captions of the crops, by set and model.
        """
        found: list[PageSection] = []
        for name, images in self.found.items():
            box = crops.busiest(images["HR"], images["bicubic"])
            labels = list(images)
            caption = (
                f"{self.titles[name]}, the first image of {name}: {box.width}x{box.height} pixels from "
                f"({box.left}, {box.top}), where bicubic has the largest error."
            )
            slider = {"left": "bicubic", "right": labels[-1], "caption": caption}
            cut = crops.section(images, box, (notes or {}).get(name))
            found.append({"heading": f"Details of {name}", "crops": {**cut, **slider}})
        return found


def evaluation(results: Mapping[str, Any], details: Details) -> list[PageSection]:
    """Sections for results of `srkd.metrics.evaluation`: summary, quality over size, details, scores of each image."""
    rows, columns = table(results)
    found = _tables("Scores", rows, columns)
    first = registry.of_scores(next(iter(results["models"][0]["sets"].values())))[0]
    for name in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == name]
        if not first.lower:
            found += sections.pareto(of_set, ["model"], "parameters", first.title, f"On {name}.")
    if _compared(results):
        rows, columns = against.table(results)
        found.append({"heading": against.title(results), "table": {"rows": rows, "columns": columns}})
    return [*found, *details.sections(_notes(results)), *images(results)]


def _tables(heading: str, rows: Sequence[tables.Row], columns: Sequence[str]) -> list[PageSection]:
    """A table for each protocol, the first with the heading."""
    found: list[PageSection] = [{"table": {"rows": part, "columns": columns}} for part in tables.by_protocol(rows)]
    return [{"heading": heading, **found[0]}, *found[1:]]


def _compared(results: Mapping[str, Any]) -> bool:
    return any(row.get("published") for row in results["models"])


def write(folder: Path, results: Mapping[str, Any], details: Details) -> None:
    """Write results.json, results.md and report.html of an evaluation, with a table for each protocol."""
    rows, columns = table(results)
    write_json(folder / "results.json", results)
    parts = [tables.markdown(part, columns) for part in tables.by_protocol(rows)]
    if _compared(results):
        parts += [f"{against.title(results)}:", tables.markdown(*against.table(results))]
    write_text(folder / "results.md", "\n\n".join(parts) + "\n")
    models, sets = (list(dict.fromkeys(row[key] for row in rows)) for key in ("model", "set"))
    lead = f"{', '.join(models)} at x{results['scale']} on {', '.join(sets)}."
    write_text(folder / "report.html", html.page("Evaluation", evaluation(results, details), lead, "evaluate"))


def _notes(results: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The first metric of each set's first image, by set and model."""
    notes: dict[str, dict[str, str]] = {}
    for row in results["models"]:
        for name, scores in row["sets"].items():
            first = scores["images"][0]
            metric = registry.of_scores(first)[0]
            notes.setdefault(name, {})[row["model"]] = metric.caption(first[metric.name])
    return notes


def images(results: Mapping[str, Any], labels: Sequence[str] = ()) -> list[PageSection]:
    """Tables with the scores of each image in results of `srkd.metrics.evaluation`.

    Args:
        labels: display names of the models; default: their names.
    """
    names = labels or [row["model"] for row in results["models"]]
    rows = [
        {
            "image": image["name"],
            "set": name,
            "model": label,
            **registry.rounded(image),
            "protocol": scores["protocol"]["stamp"],
        }
        for label, row in zip(names, results["models"], strict=True)
        for name, scores in row["sets"].items()
        for image in scores["images"]
    ]
    columns = [column for column in rows[0] if column != "protocol"]
    return _tables("Every image", rows, columns)


def run_sections(recipe: SRRecipe, models: Mapping[str, str]) -> list[PageSection]:
    """Sections on a finished run's generators and bicubic, on the recipe's validation sets; [] if it has none.

    Args:
        models: checkpoints by network name; only those of `net_g...` are used.
    """
    sets = [(spec.name, validation_images(spec, recipe.scale)) for spec in recipe.datasets.validation()]
    if not sets:
        return []
    details, scale = Details(), recipe.scale
    networks = [_labelled(name, open_model(path, scale)) for name, path in models.items() if name.startswith("net_g")]
    opened = [open_model("bicubic", scale), *networks]
    with Progress("scoring for the report", len(opened) * sum(len(store) for _, store in sets)) as progress:
        results = measure(opened, sets, scale, say=progress.update, on_output=details)
    return evaluation(results, details)


def _labelled(name: str, model: Model) -> Model:
    return replace(model, name="trained" if name == "net_g" else name)


def comparison_sections(models: Mapping[str, str], folders: Sequence[str]) -> list[PageSection]:
    """The first image of every set by several models, side by side.

    Args:
        models: checkpoints by label.
        folders: sets in the form accepted by `open_set`.
    """
    details = Details()
    for label, path in models.items():
        model = open_model(path, None)
        for folder in folders:
            name, store = open_set(folder, model.scale)
            details(label, name, store, 0, model(store.lr(0)[None])[0])
    return details.sections()

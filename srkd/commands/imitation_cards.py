"""Measure a zoo model that imitates a teacher, and its card: distances to the teacher's outputs on held-out images.

There is no ground truth to compare with: the teacher draws what could be there. Scores are distances to its outputs, on
degraded versions of a data set that takes no part in training, and on photographs as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from srkd.data.store import ImageStore
from srkd.errors import SrkdError
from srkd.images.resize import imresize
from srkd.imitation import photograph, task
from srkd.imitation.held_out import HeldOut
from srkd.imitation.recipe import ImitationRecipe, ImitationValSet
from srkd.imitation.source import shrunk
from srkd.imitation.teachers import OutputTeacher
from srkd.inference.model import Model
from srkd.metrics import registry
from srkd.metrics.evaluation import BICUBIC, measure, open_model
from srkd.metrics.scores import Pair, Protocol
from srkd.report import tables
from srkd.sr.training_images import validation_images
from srkd.training.log import Progress
from srkd.training.recipe import validate

HELD_OUT = "B100"  # degraded as the training images are; it plays no part in training or in the choice of steps


def is_imitation(recipe: Mapping[str, Any]) -> bool:
    """Whether a zoo recipe trains by imitation."""
    return recipe.get("task") == "imitation"


def scores(
    model: Model, data: Mapping[str, Any], about: Mapping[str, Any], photographs: Sequence[str]
) -> dict[str, Any]:
    """What metrics.json gets besides the facts of every model.

    Args:
        data: the model's recipe.
        about: its about.yml, with `metrics` and the models that it is `compared` with.
        photographs: folders of images without ground truth, which are inputs as they are.

    Returns:
        `imitates`: the teacher; `sets`, `bicubic`: mean distances to the teacher by set; `compared`: those of other
        models; `differences`: for every other model the paired difference of each metric on each set, with its 95 % t
        interval over images; `teacher_scores`: metrics of the teacher's outputs that need no reference.

    Raises:
        SrkdError: images, the teacher or another model cannot be read; an image is too small for a metric.
    """
    recipe, _ = validate(ImitationRecipe, dict(data))
    teacher, metrics = task.recipe_teacher(recipe), about["metrics"]
    found = _held_out(recipe, teacher, photographs)
    sets = [(each.spec.name, validation_images(each.val_set, model.scale)) for each in found]
    others = [open_model(name, model.scale) for name in (BICUBIC, *about.get("compared", []))]
    rows = measure([*others, model], sets, model.scale, metrics=metrics)["models"]
    ours = rows[-1]
    means = [{name: _means(one, metrics) for name, one in row["sets"].items()} for row in rows]
    return {
        "imitates": teacher.name,
        "sets": means[-1],
        "bicubic": means[0],
        "compared": {row["model"]: mean for row, mean in zip(rows[1:-1], means[1:-1], strict=True)},
        "differences": {row["model"]: _differences(ours["sets"], row["sets"], metrics) for row in rows[:-1]},
        "teacher_scores": {name: _of_teacher(store, model.scale, metrics) for name, store in sets},
    }


def _held_out(recipe: ImitationRecipe, teacher: OutputTeacher, photographs: Sequence[str]) -> list[HeldOut]:
    specs = [ImitationValSet(name=Path(HELD_OUT).name, dataroot_gt=HELD_OUT)]
    specs += [ImitationValSet(name=Path(folder).name, dataroot_gt=folder, degrade=False) for folder in photographs]
    if len({spec.name for spec in specs}) < len(specs):
        raise SrkdError(f"two sets have the same name: {', '.join(spec.name for spec in specs)}; rename a folder")
    found = task.held_out(recipe, teacher, {spec.name: spec for spec in specs})
    for each in found.values():
        with Progress(f"{teacher.name} on {each.spec.name}", len(each.images), quiet=each.complete) as progress:
            each.build(progress.update)
    return list(found.values())


def _means(scores: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    return {**{metric: scores[metric] for metric in metrics}, "protocol": scores["protocol"]["stamp"]}


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, Any]:
    """Ours minus theirs by set and metric, paired by image."""
    found: dict[str, Any] = {}
    for name, scored in ours.items():
        for metric in metrics:
            pairs = zip(scored["images"], theirs[name]["images"], strict=True)
            values = np.array([mine[metric] - other[metric] for mine, other in pairs])
            found.setdefault(name, {})[metric] = _interval(values, registry.get(metric).lower)
    return found


def _interval(values: np.ndarray, lower: bool) -> dict[str, float]:
    from scipy import stats

    interval = stats.ttest_1samp(values, 0).confidence_interval()
    better = values < 0 if lower else values > 0
    return {
        "difference": float(values.mean()),
        "low": float(interval.low),
        "high": float(interval.high),
        "better": int(better.sum()),
        "images": len(values),
    }


def _of_teacher(outputs: ImageStore, scale: int, metrics: Sequence[str]) -> dict[str, float]:
    alone = [registry.get(name) for name in metrics if registry.get(name).no_reference]
    images, protocol = [outputs.hr(number) for number in range(len(outputs))], Protocol.default(scale, lr="given")
    return {metric.name: float(np.mean([metric(Pair(x, x, protocol)) for x in images])) for metric in alone}


def card(name: str, recipe: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The model card as Markdown."""
    network = {key: value for key, value in recipe["network_g"].items() if key != "type"}
    teacher, first = metrics["imitates"], next(iter(metrics["sets"].values()))
    stamp, taught = first["protocol"], metrics["teacher"] or "none"
    return f"""# {name}

{recipe["network_g"]["type"]} ({", ".join(f"{k} {v}" for k, v in network.items())}) for x{metrics["scale"]}:
{metrics["parameters"]:,} parameters, {metrics["multiply_adds_1280x720"] / 1e9:.1f} G multiply-adds for an output of
1280x720, {metrics["latency_ms_256x256"]} ms for a 256x256 input ({metrics["machine"]}, fp32).

{metrics["notes"]}

![The input, bicubic, {name} and {teacher}](image.png)

scikit-image's `chelsea` (Stefan van der Walt, CC0) at half its size and JPEG quality 50. The numbers are PSNR to
{teacher}'s output.

## Distance to the teacher

{_tables(name, teacher, metrics)}

Reference: {teacher}'s output. {HELD_OUT}: its images degraded as the training images are, but not trained on. Other
sets: photographs as they are, their centres. Protocol: {stamp}.

{_paired(name, metrics)}

## How it was made

- Steps: {metrics["steps"]}, seed {metrics["seed"]}, teacher: {taught}. The recipe is beside this card.
- Again: `{metrics["command"]}`, then `srkd zoo verify {name} --data <folder of photographs>`.
- sha256 of the weights: `{metrics["sha256"]}`.
- Licence of the weights: {metrics["licence"]}.

## Use

```sh
srkd upscale photo.jpg -m {name}
```
"""


def _tables(name: str, teacher: str, metrics: Mapping[str, Any]) -> str:
    """A table for each set: the models' scores, and the teacher's where they need no reference."""
    parts = []
    for key, ours in metrics["sets"].items():
        measured = registry.of_scores(ours)
        rows = {name: ours, BICUBIC: metrics["bicubic"][key]}
        rows |= {other: sets[key] for other, sets in metrics["compared"].items()}
        lines = [{"model": label} | registry.texts(row, brief=True) for label, row in rows.items()]
        own = metrics["teacher_scores"][key]
        lines.append({"model": f"{teacher} (teacher)"} | {metric.title: "-" for metric in measured})
        lines[-1] |= registry.texts(own, brief=True)
        count = next(iter(metrics["differences"][BICUBIC][key].values()))["images"]
        parts.append(f"{key}, {count} images:\n\n" + tables.markdown(lines, list(lines[0])))
    return "\n\n".join(parts)


def _paired(name: str, metrics: Mapping[str, Any]) -> str:
    """A table of the paired differences of the metrics that compare with the teacher."""
    rows = []
    for other, sets in metrics["differences"].items():
        for key, found in sets.items():
            row = {f"{name} minus": other, "set": key}
            for metric in (registry.get(each) for each in found):
                if not metric.no_reference:
                    d = found[metric.name]
                    interval = f"{d['difference']:+.3f} ({d['low']:+.3f} to {d['high']:+.3f})"
                    row[metric.title] = f"{interval}, better on {d['better']} of {d['images']}"
            rows.append(row)
    text = "Paired differences with the 95 % interval over images, of one training each:\n\n"
    return text + tables.markdown(rows, list(rows[0]))


def image(model: Model, recipe: Mapping[str, Any]) -> bytes:
    """The card's image as PNG: a degraded photograph, and what bicubic, the model and the teacher make of it."""
    parsed, _ = validate(ImitationRecipe, dict(recipe))
    teacher, lr = task.recipe_teacher(parsed), photograph.sample()
    reference = shrunk(teacher(lr[None])[0], teacher.scale // model.scale)
    versions = {BICUBIC: imresize(lr, float(model.scale)), model.name: model.upscale(lr)}
    metric, protocol = registry.get("psnr"), Protocol.default(model.scale, lr="given")
    notes = {label: metric.caption(metric(Pair(output, reference, protocol))) for label, output in versions.items()}
    return photograph.sheet(lr, {**versions, teacher.name: reference}, notes)

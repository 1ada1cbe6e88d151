"""Model cards of the zoo: purpose, scores, training data and how to reproduce the model."""

from __future__ import annotations

from typing import Any

from srkd.commands import imitation_cards
from srkd.images.resize import imresize
from srkd.metrics import published, registry
from srkd.metrics.evaluation import open_model
from srkd.metrics.psnr import PSNR
from srkd.metrics.scores import Pair, Protocol
from srkd.report import crops, tables

# The published models in a card's table of scores.
_COMPARED = ["bicubic", "SRCNN", "FSRCNN", "VDSR", "ETDS-M", "SRResNet", "EDSR-baseline", "DAT-light"]


def card(name: str, recipe: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The model card as Markdown."""
    if imitation_cards.is_imitation(recipe):
        return imitation_cards.card(name, recipe, metrics)
    sets = list(metrics["sets"])
    rows = [_row(name, metrics["sets"], metrics["parameters"]), _row("bicubic (measured)", metrics["bicubic"])]
    scale = metrics["scale"]
    rows += [_published(label, scale) for label in _COMPARED if published.entry(label).scores(scale)]
    network = {key: value for key, value in recipe["network_g"].items() if key != "type"}
    scores = next(iter(metrics["sets"].values()))
    titles, stamp = registry.texts(scores), scores["protocol"]
    teacher = metrics["teacher"] or "none"
    return f"""# {name}

{recipe["network_g"]["type"]} ({", ".join(f"{k} {v}" for k, v in network.items())}) for x{metrics["scale"]}:
{metrics["parameters"]:,} parameters, {metrics["multiply_adds_1280x720"] / 1e9:.1f} G multiply-adds for an output of
1280x720, {metrics["latency_ms_256x256"]} ms for a 256x256 input ({metrics["machine"]}, fp32).

{metrics["notes"]}

## Scores

{tables.markdown(rows, ["model", "parameters", *sets])}

{" / ".join(titles)}; protocol: {stamp}.

![A detail of a photograph: ground truth, bicubic, {name}](image.png)

scikit-image's `coffee` (Rachel Michetti, CC0), where bicubic is furthest from the truth.

## How it was made

- Steps: {metrics["steps"]}, seed {metrics["seed"]}, teacher: {teacher}. The recipe is beside this card.
- Again: `{metrics["command"]}`, then `srkd zoo verify {name} --data <HR folders>`.
- sha256 of the weights: `{metrics["sha256"]}`.
- Licence of the weights: {metrics["licence"]}.

## Use

```python
import srkd
srkd.load("{name}").upscale("photo.png")
```
"""


def image(name: str, scale: int) -> bytes:
    """The card's image as PNG: a freely licensed photograph upscaled by bicubic and by the model."""
    from skimage import data

    whole = data.coffee()
    hr = whole[: whole.shape[0] // scale * scale, : whole.shape[1] // scale * scale]
    lr = imresize(hr, 1 / scale)
    shown = {"HR": hr} | {model: open_model(model, scale)(lr[None])[0] for model in ("bicubic", name)}
    metric, protocol = PSNR(), Protocol.default(scale)
    notes = {m: metric.caption(metric(Pair(shown[m], hr, protocol))) for m in ("bicubic", name)}
    return crops.sheet(shown, notes=notes)


def _row(label: str, sets: dict[str, Any], parameters: int | None = None) -> dict[str, Any]:
    return {"model": label, "parameters": parameters, **published.score_cells(sets)}


def _published(name: str, scale: int) -> dict[str, Any]:
    row = published.row(name, scale)
    return {**row, "model": f"{row['model']} (published)"}

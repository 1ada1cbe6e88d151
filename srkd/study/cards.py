"""Model cards: what a zoo model is for, what it scores, what it was made of and how to make it again."""

from __future__ import annotations

from typing import Any

from srkd.io.resize import imresize
from srkd.report import crops, tables
from srkd.sr.evaluate import open_model
from srkd.sr.metrics import Protocol, score

# Y PSNR/SSIM at each scale, from the papers.
PUBLISHED: dict[int, dict[str, dict[str, str]]] = {
    2: {
        "bicubic (published)": {"Set5": "33.66/.9299", "Set14": "30.24/.8688", "B100": "29.56/.8431"},
        "SRCNN, 57 K": {"Set5": "36.66/.9542", "Set14": "32.42/.9063", "B100": "31.36/.8879"},
        "FSRCNN, 12 K": {"Set5": "37.00/.9558", "Set14": "32.63/.9088", "B100": "31.53/.8920"},
        "VDSR, 665 K": {"Set5": "37.53/.9587", "Set14": "33.03/.9124", "B100": "31.90/.8960"},
        "EDSR-baseline, 1.37 M": {"Set5": "37.99/.9604", "Set14": "33.57/.9175", "B100": "32.16/.8994"},
    },
    4: {
        "bicubic (published)": {"Set5": "28.42", "Set14": "26.00", "B100": "25.96"},
        "EDSR-baseline, 1.5 M": {"Set5": "32.09", "Set14": "28.58", "B100": "27.57"},
        "SRResNet, 1.5 M": {"Set5": "32.05", "Set14": "28.49", "B100": "27.58"},
    },
}


def card(name: str, recipe: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The card as Markdown."""
    sets = list(metrics["sets"])
    rows = [_row(name, metrics["sets"]), _row("bicubic (measured)", metrics["bicubic"])]
    rows += [{"model": label, **{s: scores.get(s, "-") for s in sets}}
             for label, scores in PUBLISHED.get(metrics["scale"], {}).items()]  # fmt: skip
    network = {key: value for key, value in recipe["network_g"].items() if key != "type"}
    stamp = next(iter(metrics["sets"].values()))["protocol"]
    teacher = metrics["teacher"] or "none"
    return f"""# {name}

{recipe["network_g"]["type"]} ({", ".join(f"{k} {v}" for k, v in network.items())}) for x{metrics["scale"]}:
{metrics["parameters"]:,} parameters, {metrics["multiply_adds_1280x720"] / 1e9:.1f} G multiply-adds for an output of
1280x720, {metrics["latency_ms_256x256"]} ms for a 256x256 input ({metrics["machine"]}, fp32).

{metrics["notes"]}

## Scores

{tables.markdown(rows, ["model", *sets])}

PSNR (dB) / SSIM; protocol: {stamp}.

![A detail of a photograph: ground truth, bicubic, {name}](picture.png)

scikit-image's `coffee` (Rachel Michetti, CC0), where bicubic is furthest from the truth.

## How it was made

- Steps: {metrics["steps"]}, seed {metrics["seed"]}, teacher: {teacher}. The recipe is beside this card.
- Again: `{metrics["command"]}`, then `tools/zoo.py verify {name} --data <HR folders>`.
- sha256 of the weights: `{metrics["sha256"]}`.
- Licence of the weights: {metrics["licence"]}.

## Use

```python
import srkd
srkd.load("{name}").upscale("photo.png")
```
"""


def picture(name: str, scale: int) -> bytes:
    """The card's picture as PNG: one photograph that may be shown, by bicubic and by the model."""
    from skimage import data

    whole = data.coffee()
    hr = whole[: whole.shape[0] // scale * scale, : whole.shape[1] // scale * scale]
    lr = imresize(hr, 1 / scale)
    shown = {"HR": hr} | {model: open_model(model, scale).upscale(lr) for model in ("bicubic", name)}
    protocol = Protocol.default(scale)
    notes = {m: f"{score(shown[m], hr, protocol, metrics=['psnr'])['psnr']:.2f} dB" for m in ("bicubic", name)}
    return crops.sheet(shown, notes=notes)


def _row(label: str, sets: dict[str, Any]) -> dict[str, Any]:
    cells = {name: f"{scores['psnr']:.2f}/{scores['ssim']:.4f}".replace("/0.", "/.") for name, scores in sets.items()}
    return {"model": label, **cells}

"""The page of all metrics, from their classes, and what the stamp of a score means."""

from __future__ import annotations

import inspect

from srkd.docs.markdown import cell, code, prose, table
from srkd.metrics import registry
from srkd.metrics.scores import Protocol

_INTRO = """`srkd evaluate --metrics` takes these names, a study's `sets` too (`Set5@psnr,niqe`), and a recipe's
`val.metrics` with BasicSR's prefix: `{name: {type: calculate_psnr}}`. Reports, studies and model cards know their
titles, decimals and which direction is better. A metric whose package or weights are missing fails before the first
image is scored, with one line that names what to install or download.

LPIPS, DISTS and the EfficientNet distance compare features of networks trained on ImageNet, which follow human
judgement of textures better than PSNR does. A network trained with one of them as a loss is flattered by it: judge it
by another one."""

_STAMP = """Scores measured differently are not comparable, so every score carries a stamp, and no table mixes two:

> {stamp}

- `x2`: the scale. HR images are cropped to a multiple of it.
- `MATLAB bicubic LR`: LR is made by MATLAB's `imresize` with antialiasing; `LR as given` if it was read from files.
- `uint8 output`: the output is clamped and rounded to 8 bits before it is scored.
- `Y (BT.601)`: PSNR and SSIM on the luma of BT.601; `RGB` is their mean over the channels, and lower by about 2 dB. The
  files of grey images are used as they are.
- `border 2 px`: as many pixels are left out on every side, for all metrics.
- `self-ensemble x8` and `images not verified` if they apply: outputs averaged over the 8 flips and rotations; images
  named after a data set whose checksums they do not match.
- What other metrics depend on: for features, the network, its layers, their normalisation and the weights' digest.

A set's score is the mean over its images."""


def catalogue() -> str:
    """All registered metrics and the protocol's stamp."""
    metrics = [registry.get(name) for name in registry.names()]
    rows = [[code(m.name), cell(m.title), "lower" if m.lower else "higher", cell(m.needs or "-")] for m in metrics]
    stamp = prose(Protocol.default(2).stamp(["psnr", "efficientnet"]))
    parts = ["# Metrics", _INTRO, table(["name", "title", "better", "needs"], rows), "## Definitions"]
    for metric in metrics:
        own = [f"In the stamp: {prose(metric.stamp)}."] if metric.stamp else []
        parts += [f"### {code(metric.name)}", prose(inspect.getdoc(metric) or ""), *own]
    return "\n\n".join([*parts, "## The stamp", _STAMP.format(stamp=stamp)]) + "\n"

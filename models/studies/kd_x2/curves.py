"""Draw curves.png: the gain of each method along training, and at its end against the time of a run. Gains are means
over the seeds that a method and the control have in common.

python models/studies/kd_x2/curves.py [results.json]; the image is written next to the results.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
SCORE = "psnr_BSDS500_validation"


def main(arguments: Sequence[str]) -> None:
    source = Path(arguments[0]) if arguments else HERE / "final_results.json"
    results = json.loads(source.read_text(encoding="utf-8"))
    curves: dict[str, dict[int, dict[int, float]]] = {}  # by variant, seed and step
    for run in results["runs"]:
        curves.setdefault(run["variant"], {})[run["seed"]] = dict(run["curves"][SCORE])
    minutes = {row["variant"]: row["seconds"] / 60 for row in results["costs"]}
    control = curves.pop("control")
    figure, (along, cost) = pyplot.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
    for number, (name, own) in enumerate(curves.items()):
        seeds = own.keys() & control.keys()
        steps = list(control[min(seeds)])
        gains = [fmean(own[seed][step] - control[seed][step] for seed in seeds) for step in steps]
        style = {"color": f"C{number}", "marker": "os^vDPX*"[number % 8]}
        along.plot(steps, gains, label=name, markersize=4, **style)
        cost.plot(minutes[name], gains[-1], linestyle="none", label=name, **style)
    cost.axvline(minutes["control"], color="grey", linestyle=":", linewidth=1)
    along.set(xlabel="step", ylabel="gain over the control, BSDS500 validation (dB)")
    cost.set(xlabel="minutes of a run (dotted: the control)", ylabel="gain at the end (dB)")
    for axes in (along, cost):
        axes.axhline(0, color="black", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    along.legend(frameon=False, ncols=2, fontsize="small")
    figure.savefig(source.with_name("curves.png"), dpi=150)


if __name__ == "__main__":
    main(sys.argv[1:])

"""Draw intervals.png: what each method of the screening changes, with its interval.

python models/studies/kd_x2/intervals.py
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib

matplotlib.use("agg")
from matplotlib import pyplot

HERE = Path(__file__).parent
COLOURS = {"better": "#0072b2", "worse": "#d55e00"}
OTHER = "#777777"  # no difference shown, or no verdict


def main() -> None:
    results = json.loads((HERE / "screening_results.json").read_text())
    (table,) = (table for table in results["scores"] if table["metric"] == "psnr")
    rows = sorted((row for row in table["rows"] if row.get("difference") is not None), key=lambda r: r["difference"])
    figure, axes = pyplot.subplots(figsize=(7.2, 0.27 * len(rows) + 0.9), layout="constrained")
    for place, row in enumerate(rows):
        colour = COLOURS.get(row["verdict"], OTHER)
        axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2)
        axes.plot(row["difference"], place, "o", color=colour)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row["variant"] for row in rows])
    axes.set_xlabel("PSNR on the 20 held-out images, difference to the control (dB)")
    for verdict in dict.fromkeys(row["verdict"] for row in rows):
        axes.plot([], [], "o-", color=COLOURS.get(verdict, OTHER), label=verdict)
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(HERE / "intervals.png", dpi=150)


if __name__ == "__main__":
    main()

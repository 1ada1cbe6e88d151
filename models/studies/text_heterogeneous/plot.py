"""The two plots of this page, from the results beside it: `python plot.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from srkd.files.atomic import write_bytes
from srkd.report import plots

HERE = Path(__file__).parent
SHARES = {10: "share_10_results.json", 25: "share_25_results.json", 50: "share_50_results.json", 100: "results.json"}


def read(name: str) -> dict[str, Any]:
    return dict(json.loads((HERE / name).read_text(encoding="utf-8")))


def by_share() -> list[dict[str, Any]]:
    """Of each variant, its mean test accuracy at each share of the training documents."""
    lines: dict[str, dict[str, Any]] = {}
    for share, name in SHARES.items():
        table = next(table for table in read(name)["scores"] if table["metric"] == "accuracy")
        for row in table["rows"]:
            line = lines.setdefault(row["variant"], {"label": row["variant"], "x": [], "y": []})
            line["x"].append(share)
            line["y"].append(row["mean"])
    return list(lines.values())


def main() -> None:
    curves = {
        "by_step.png": plots.curves(read("results.json")["curves"]["accuracy"], "step", "test accuracy (%)"),
        "by_share.png": plots.curves(by_share(), "labelled training documents (%)", "test accuracy (%)"),
    }
    for name, plot in curves.items():
        write_bytes(HERE / name, plots.draw(plot, "png"))


if __name__ == "__main__":
    main()

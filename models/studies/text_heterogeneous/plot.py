"""The plot of this page, from the results beside it: `python plot.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from srkd.files.atomic import write_bytes
from srkd.report import plots

HERE = Path(__file__).parent
SHARES = (10, 25, 50, 100)


def by_share(metric: str = "accuracy") -> list[dict[str, Any]]:
    """Of each variant, its mean on the test documents at each share of the labels."""
    lines: dict[str, dict[str, Any]] = {}
    for share in SHARES:
        results = json.loads((HERE / f"share_{share}_results.json").read_text(encoding="utf-8"))
        table = next(table for table in results["scores"] if table["metric"] == metric)
        for row in table["rows"]:
            line = lines.setdefault(row["variant"], {"label": row["variant"], "x": [], "y": []})
            line["x"].append(share)
            line["y"].append(row["mean"])
    return list(lines.values())


def main() -> None:
    plot = plots.curves(by_share(), "documents with their label (%)", "test accuracy (%)")
    write_bytes(HERE / "by_share.png", plots.draw(plot, "png"))


if __name__ == "__main__":
    main()

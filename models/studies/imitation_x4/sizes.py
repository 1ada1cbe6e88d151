"""Draw sizes.svg: how near each network comes to Real-ESRGAN x4plus on real photographs, against its seconds.

The seconds are those of docs/measured/photograph.json (`srkd benchmark photograph`), the distances those on the cards.

python models/studies/imitation_x4/sizes.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from srkd.report import plots

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SET, METRIC = "RealSRSet_plus5", "efficientnet"


def points() -> list[dict[str, Any]]:
    """Each network's seconds and the share of bicubic's distance to the teacher that it removes, in per cent."""
    card = json.loads((ROOT / "models/realesrgan_s_x4/metrics.json").read_text())
    bicubic = card["bicubic"][SET][METRIC]
    timed = json.loads((ROOT / "docs/measured/photograph.json").read_text())["rows"]
    found = []
    for row in timed:
        name, parameters = row["model"], row["parameters"]
        distance = 0.0 if row is timed[-1] else bicubic if name == "bicubic" else _distance(name, card)
        label = name if parameters is None else f"{name}, {parameters / 1000:,.0f} K"
        found.append({"label": label, "x": row["seconds"], "y": 100 * (1 - distance / bicubic)})
    return found


def _distance(name: str, card: dict[str, Any]) -> float:
    own = ROOT / "models" / name / "metrics.json"
    scores = json.loads(own.read_text())["sets"] if own.is_file() else card["compared"][name]
    return float(scores[SET][METRIC])


def main() -> None:
    plot = plots.pareto(
        points(),
        "seconds for a photograph of 1000x1000, x4, two cores",
        "bicubic's distance to the teacher removed (%)",
    )
    (HERE / "sizes.svg").write_bytes(plots.draw(plot))


if __name__ == "__main__":
    main()

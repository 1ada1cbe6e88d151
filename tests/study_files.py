"""Small studies for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from srkd.studies import plan
from srkd.studies.runs import Comparison

L1 = {"type": "L1Loss"}
VID = {"type": "vid", "at": "body.1"}


def opened(study: dict[str, Any], folder: Path) -> Comparison:
    path = folder / "study.yml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return Comparison(plan.read(path), folder / "out")

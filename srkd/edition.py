"""Which of the two packages this is: `srkd`, or `srkd-upscale`, which upscales without torch.

The wheel of srkd-upscale has only the modules that upscale, and the zoo's models as exported files; see
docs/architecture.md.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from srkd import resources
from srkd.errors import SrkdError

INDEX = "exported.json"  # in the folder `models` of srkd-upscale: {model: {"file": name, "sha256": digest}}
FULL, LIGHT = "srkd", "srkd-upscale"


@cache
def exported() -> dict[str, Any]:
    """The index of the exported models; empty in the package srkd, which has their checkpoints."""
    path = resources.folder("models") / INDEX
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def name() -> str:
    """`FULL` or `LIGHT`."""
    return LIGHT if exported() else FULL


def is_light() -> bool:
    """Whether this is srkd-upscale."""
    return bool(exported())


def needs_full(what: str) -> SrkdError:
    """The error for what srkd-upscale lacks."""
    return SrkdError(f"{what} needs the full package, and this is {LIGHT}: pip install {FULL}")

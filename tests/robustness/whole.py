"""Check that every file that a killed command left under a final name is complete."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from srkd.data.store import ImageStore
from srkd.files.atomic import is_partial
from srkd.images.read import SUFFIXES, read_image
from srkd.training.checkpoint import load_state, load_weights
from srkd.training.recipe import read


def _index(path: Path) -> Any:
    return ImageStore.open(path.parent) if path.name == "index.json" else json.loads(path.read_text(encoding="utf-8"))


_READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _index,
    ".onnx": lambda path: __import__("onnx").load(path),
    ".pt": load_state,
    ".safetensors": load_weights,
    ".yml": read,
    **dict.fromkeys(SUFFIXES, read_image),
}


def check(folder: Path) -> int:
    """Read every file of a known kind; returns their number. Raises what the reader raises."""
    count = 0
    for path in sorted(folder.rglob("*")):
        reader = _READERS.get(path.suffix)
        if path.is_file() and reader is not None and not is_partial(path):
            reader(path)
            count += 1
    return count

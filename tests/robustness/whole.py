"""Whether every file that a killed command left under a final name is whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from srkd.engine.checkpoint import load_state, load_weights
from srkd.engine.recipe import read
from srkd.io.atomic import is_partial
from srkd.io.images import SUFFIXES, read_picture
from srkd.io.store import PictureStore


def _index(path: Path) -> Any:
    return PictureStore.open(path.parent) if path.name == "index.json" else json.loads(path.read_text())


_READERS: dict[str, Callable[[Path], Any]] = {
    ".json": _index,
    ".onnx": lambda path: __import__("onnx").load(path),
    ".pt": load_state,
    ".safetensors": load_weights,
    ".yml": read,
    **dict.fromkeys(SUFFIXES, read_picture),
}


def check(folder: Path) -> int:
    """Read every file of a kind that is known; returns how many there were. Raises what the reader raises."""
    count = 0
    for path in sorted(folder.rglob("*")):
        reader = _READERS.get(path.suffix)
        if path.is_file() and reader is not None and not is_partial(path):
            reader(path)
            count += 1
    return count

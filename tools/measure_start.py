"""Measure a whole `srkd upscale` of one small image, with torch and without: `docs/measured/start.json`.

Run it on a machine that does nothing else: python tools/measure_start.py
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from srkd.files.atomic import write_json
from srkd.images.read import ImageData, write_image
from srkd.inference.speed import machine
from srkd.machine import load_average

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "docs" / "measured" / "start.json"
SIDE, ROUNDS = 256, 7


def run(place: Path, name: str, *options: str) -> tuple[float, float]:
    """Seconds and seconds of the processor of one command."""
    command = [sys.executable, "-m", "srkd", "upscale", str(place / "in.png"), "-o", str(place / name), *options]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "SRKD_CACHE": str(place / "cache")})
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(place: Path) -> dict[str, Any]:
    """Medians of alternating commands, after the engines were measured and stored."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    write_image(place / "in.png", ImageData(pixels))
    run(place, "first.png", "--runtime", "auto")
    run(place, "second.png")
    (note,) = (place / "cache" / "runtimes" / "quick_start").iterdir()
    stored = json.loads(note.read_text(encoding="utf-8"))["engine"]
    named = ["--runtime", "openvino", "--precision", stored["precision"]]
    rounds = [(run(place, f"{n}.png"), run(place, f"{n}_with_torch.png", *named)) for n in range(ROUNDS)]
    found: dict[str, Any] = {"machine": machine(), "load": load_average(), "side": SIDE, "rounds": ROUNDS}
    for place_in_round, way in enumerate(("without torch", "with torch")):
        seconds, processor = zip(*(each[place_in_round] for each in rounds), strict=True)
        found[way] = {"seconds": round(median(seconds), 2), "processor seconds": round(median(processor), 2)}
    return {**found, "precision": stored["precision"]}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write_json(RESULT, measure(Path(scratch)))
    print(RESULT.read_text(encoding="utf-8"))

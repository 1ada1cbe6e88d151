"""`srkd upscale` on a folder of images of every kind, some damaged: each is upscaled correctly or reported as failed
with a reason, and nothing else is written."""

from __future__ import annotations

import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from robustness.mutations import mutated
from robustness.valid import images
from robustness.victims import command, run
from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.images.read import read_image
from srkd.images.write import to_depth
from srkd.inference.model import Model
from support import textured

LOSSLESS = {"png", "tiff", "bmp"}
NAMES = ("{}", "with space {}", "東京 {}", "{}.tar", "-{}", "upper {}", "'{}'", "%{}", "a\nb {}", "\udcff{}")


def write(folder: Path, count: int) -> list[Path]:
    """`count` images: unchanged, resized, damaged, or not images at all, in three folders, with awkward names."""
    (folder / "seeds").mkdir()
    seeds, rng, written = images(folder / "seeds"), random.Random(0), []
    for number in range(count):
        data, kind = rng.choice(seeds), rng.random()
        path = folder / "in" / rng.choice(("", "sub", "sub/deeper"))
        path.mkdir(parents=True, exist_ok=True)
        path = path / (rng.choice(NAMES).format(number) + rng.choice((".png", ".JPG", ".tif", ".webp", ".bmp")))
        if kind < 0.2:
            path.write_bytes(mutated(rng, [data]))
        elif kind < 0.5:
            size = rng.choice(((1, 1), (1, 40), (3, 2), (70, 33), (128, 128)))
            mode = rng.choice(("RGB", "L", "RGBA", "P", "1", "LA"))
            with path.open("wb") as file:
                Image.fromarray(textured(number, *size)).convert(mode).save(file, "PNG")
        else:
            path.write_bytes(data)
        written.append(path)
    return written


def test_every_image_is_upscaled_or_reported(
    tiny: Path, tmp_path: Path, rounds: Callable[[int, int], int], tell: Callable[[str], None]
) -> None:
    count = rounds(60, 2000)
    given = write(tmp_path, count)
    call = command("upscale", "in", "-r", "-o", "out", "-m", str(tiny), "--tile", "64", "--suffix", "_x2")
    ended = run(call, tmp_path, patience=100 + count)
    assert ended.code == 2 and "Traceback" not in ended.output, ended.output
    failed = set(re.findall(r"^failed: (in/.*?\.\w+): ", ended.output, re.M))
    model, done = Model.load(str(tiny)), 0
    for path in given:
        below = path.relative_to(tmp_path)
        outputs = list((tmp_path / "out" / below.parent.relative_to("in")).glob(f"{_escaped(path.stem)}_x2.*"))
        try:
            source = read_image(path)
        except SrkdError:
            source = None
        if printable_path(below) in failed:
            assert not outputs
        else:
            assert source is not None and len(outputs) == 1, path
            result = read_image(outputs[0])
            deep = result.pixels.dtype == np.uint16
            if not deep and source.pixels.dtype == np.uint16:
                assert f"{printable_path(below)}: 16 bits rounded to the 8 of" in ended.output
            if result.format in LOSSLESS and source.pixels.shape[2] == result.pixels.shape[2]:
                expected = to_depth(model.upscale(source.pixels, tile=64), deep)
                np.testing.assert_array_equal(result.pixels, expected)
            done += 1
    assert sum(len(files) for _, _, files in os.walk(tmp_path / "out")) == done
    tell(f"{done} upscaled, {len(failed)} rejected, {ended.seconds:.0f} s")


def _escaped(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)

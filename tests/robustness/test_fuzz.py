"""Fuzzing of the readers of files from elsewhere: each reads what it is given, or says in one line why it cannot.

No other exception, no crash, no input that takes longer than a few seconds or all of the memory, no file written.
"""

from __future__ import annotations

import io
import pickle
import random
import resource
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
import yaml
from PIL import Image

from robustness.conftest import TINY
from robustness.mutations import mutated, reworded
from robustness.victims import run
from srkd.engine.checkpoint import load_state, save_state
from srkd.engine.recipe import override, read
from srkd.engine.run import Run
from srkd.errors import SrkdError
from srkd.io.images import Picture, picture_size, read_picture, write_picture
from srkd.io.metadata import Metadata
from srkd.sr.models import load_network
from srkd.sr.networks import build
from srkd.study import plan
from support import BASICSR_OPTIONS, textured

PATIENCE = 10  # seconds an input
MEMORY = 4 << 30  # bytes, for all of them
MODELS = Path(__file__).parents[2] / "models"


def read_recipe(path: Path) -> None:
    """As `srkd train` and `srkd compare` read it, up to the point where networks are built and pictures opened."""
    Run(override(read(path), ["logger.use_tb_logger=false"]), path.parent, quiet=True)


def read_study(path: Path) -> None:
    plan.read(path)


def read_any_picture(path: Path) -> None:
    picture = read_picture(path)
    assert picture.pixels.ndim == 3 and picture.pixels.dtype in (np.uint8, np.uint16)
    assert picture_size(path) == picture.pixels.shape[:2]


def read_checkpoint(path: Path) -> None:
    network = load_network(path)
    assert network.scale >= 1


def read_state(path: Path) -> None:
    assert "step" in load_state(path)


def recipes(folder: Path) -> list[bytes]:
    options = BASICSR_OPTIONS.format(name="x", model="SRModel", scale=2, hr="hr", lr="lr", gt_size=32, batch=4, val="v",
                                     networks="network_g: {type: EDSR, num_feat: 8}", pretrained="~",
                                     scheduler="{type: MultiStepLR, milestones: [10], gamma: 0.5}",
                                     losses="pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}")  # fmt: skip
    return [options.encode(), *(path.read_bytes() for path in sorted(MODELS.glob("*/recipe.yml")))]


def studies(folder: Path) -> list[bytes]:
    variants = [{"name": "kd", "losses": [{"type": "L1Loss"}, {"type": "rkd", "at": "body.1", "weight": 0.1}]},
                {"name": "clipped", "losses": [{"type": "L1Loss"}], "set": {"train.clip_grad_norm": 1.0}}]  # fmt: skip
    base = {"name": "x", "scale": 2, "network_g": TINY, "train": {"total_iter": 5},
            "datasets": {"train": {"dataroot_gt": "x"}}}  # fmt: skip
    return [yaml.safe_dump({"name": "s", "seeds": [0, 1], "base": base, "variants": variants, "sets": ["x"]}).encode()]


def pictures(folder: Path) -> list[bytes]:
    """Small ones of every kind: formats, depths, channels, compressions, with and without metadata."""
    colour = textured(0, 20, 24)
    deep = colour.astype(np.uint16) * 257
    exif = Image.Exif()
    exif[274] = 6
    meta = Metadata(dpi=(72, 72), exif=exif.tobytes(), xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>")
    files: list[bytes] = []
    for number, (suffix, pixels) in enumerate(
        [("png", colour), ("png", colour[..., :1]), ("png", deep), ("png", np.dstack([deep, deep[..., :1]])),
         ("jpg", colour), ("webp", np.dstack([colour, colour[..., :1]])), ("tif", deep), ("tif", colour),
         ("bmp", colour)]
    ):  # fmt: skip
        path = folder / f"{number}.{suffix}"
        write_picture(path, Picture(pixels, metadata=meta))
        files.append(path.read_bytes())
    image = Image.fromarray(colour)
    for converted, options in [
        (image.convert("P"), {"format": "PNG", "transparency": 3}), (image.convert("1"), {"format": "PNG"}),
        (image.convert("CMYK"), {"format": "JPEG"}), (image, {"format": "JPEG", "progressive": True}),
        (image, {"format": "WEBP", "lossless": True}), (image, {"format": "TIFF", "compression": "tiff_lzw"}),
        (image.convert("L"), {"format": "TIFF", "compression": "jpeg"}), (image.convert("P"), {"format": "BMP"}),
        (image, {"format": "GIF"}),
    ]:  # fmt: skip
        stream = io.BytesIO()
        converted.save(stream, **options)
        files.append(stream.getvalue())
    for options in ({"compression": "zlib", "planarconfig": "separate"}, {"tile": (16, 16)}):
        stream = io.BytesIO()
        array = deep.transpose(2, 0, 1) if "planarconfig" in options else deep
        tifffile.imwrite(stream, array, photometric="rgb", **options)
        files.append(stream.getvalue())
    return files


def checkpoints(folder: Path) -> list[bytes]:
    """srkd's own, with its description and without; torch's archives and its older format."""
    from srkd.engine.checkpoint import save_weights

    weights = build(TINY).state_dict()
    save_weights(folder / "ours.safetensors", weights, {"network": TINY, "scale": 2})
    save_weights(folder / "bare.safetensors", weights, {})
    torch.save({"params": weights, "params_ema": weights}, folder / "basicsr.pth")
    torch.save(weights, folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "pickle.pth").write_bytes(pickle.dumps({"params": {"w": 1}}, 2))
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def states(folder: Path) -> list[bytes]:
    optimiser = {"state": {0: {"step": torch.zeros(1), "exp_avg": torch.zeros(4)}}, "param_groups": [{"lr": 1e-3}]}
    save_state(folder / "s.pt", {"step": 3, "task": {"w": torch.zeros(4)}, "optimisers": {"g": optimiser}})
    return [(folder / "s.pt").read_bytes()]


Mutate = Callable[[random.Random, Sequence[bytes]], bytes]
# What is read, by what, from which kinds of valid files, changed how, under which names.
TARGETS: dict[str, tuple[Callable[[Path], None], Callable[[Path], list[bytes]], Mutate, tuple[str, ...]]] = {
    "recipe": (read_recipe, recipes, reworded, ("r.yml",)),
    "study": (read_study, studies, reworded, ("s.yml",)),
    "picture": (read_any_picture, pictures, mutated, ("p.png", "p.tif")),
    "checkpoint": (read_checkpoint, checkpoints, mutated, ("c.safetensors", "c.pth")),
    "state": (read_state, states, mutated, ("000000003.pt",)),
}


def fuzz(target: str, seeds: list[bytes], count: int, seed: int) -> int:
    """Read `count` mutated files, one after the other under the name `input`; says what came of them."""
    reader, _, mutate, names = TARGETS[target]
    soft = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (soft, soft))
    refused = 0
    for number in range(count):
        rng = random.Random(f"{target} {seed} {number}")
        path = Path.cwd() / rng.choice(names)
        path.write_bytes(mutate(rng, seeds))
        signal.alarm(PATIENCE)  # ends the process, wherever it hangs
        try:
            reader(path)
        except SrkdError as error:
            refused += 1
            assert "\n" not in str(error), f"input {number}: {error}"
        except BaseException as error:
            raise AssertionError(f"input {number}: {type(error).__name__}: {error}") from error
        signal.alarm(0)
    print(f"{count} inputs, {refused} refused, {count - refused} read", flush=True)
    return 0


@pytest.mark.parametrize("target", list(TARGETS))
def test_readers_read_or_refuse(
    target: str, tmp_path: Path, rounds: Callable[[int, int], int], tell: Callable[[str], None]
) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "work").mkdir()
    seeds = TARGETS[target][1](tmp_path / "seeds")
    for number, data in enumerate(seeds):
        path = tmp_path / "seeds" / f"seed{number}"
        path.write_bytes(data)
    call: Any = partial(fuzz, target, seeds, rounds(int(__import__("os").environ.get("N", "200")), 10_000), 0)
    ended = run(call, tmp_path / "work")
    assert ended.code == 0, f"exit code {ended.code}: {ended.said[-4000:]}"
    assert not ended.strays
    assert {path.name for path in (tmp_path / "work").iterdir()} <= {*TARGETS[target][3], "cache"}
    tell(f"{ended.said.splitlines()[-1]}, {ended.seconds:.0f} s")

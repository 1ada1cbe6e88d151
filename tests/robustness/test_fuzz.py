"""Fuzzing of the file readers: each reads its input or raises a one-line error.

No other exception, no crash, no input that takes more than a few seconds or exhausts memory, no file written.
"""

from __future__ import annotations

import random
import resource
import signal
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from robustness import valid
from robustness.mutations import mutated, reworded
from robustness.victims import run
from srkd.errors import SrkdError
from srkd.images.animation import open_animation
from srkd.images.read import image_size, read_image
from srkd.inference.loading import load_model
from srkd.studies import plan
from srkd.training.checkpoint import load_state
from srkd.training.recipe import override, read
from srkd.training.run import Run
from srkd.video.convert import to_rgb
from srkd.video.job import split
from srkd.video.read import decode, probe

PATIENCE = 10  # CPU seconds per input
MEMORY = 4 << 30  # bytes, in total


def read_recipe(path: Path) -> None:
    """Read a recipe as `srkd train` and `srkd compare` do, without building networks or opening images."""
    Run(override(read(path), ["logger.use_tb_logger=false"]), path.parent, quiet=True)


def read_study(path: Path) -> None:
    plan.read(path)


def read_any_image(path: Path) -> None:
    image = read_image(path)
    assert image.pixels.ndim == 3 and image.pixels.dtype in (np.uint8, np.uint16)
    assert image_size(path) == image.pixels.shape[:2]


def read_any_animation(path: Path) -> None:
    found = open_animation(path)
    if found is None:
        read_any_image(path)
        return
    shapes = {frame.shape for frame in found.frames()}
    assert shapes == {(found.height, found.width, found.channels)}


def read_clip(path: Path) -> None:
    """Read a clip as `srkd upscale` does, segment by segment, up to 100 frames."""
    clip = probe(path)
    left = 100
    for segment in split(clip, 0.1):
        for frame, _ in decode(clip, segment.start, segment.stop):
            assert to_rgb(frame, clip).shape == (clip.height, clip.width, 3)
            left -= 1
            if not left:
                return


def read_checkpoint(path: Path) -> None:
    network = load_model(path)
    assert network.scale >= 1


def read_state(path: Path) -> None:
    assert "step" in load_state(path)


Mutate = Callable[[random.Random, Sequence[bytes]], bytes]
# Target: reader, seeds, mutation, file names.
TARGETS: dict[str, tuple[Callable[[Path], None], Callable[[Path], list[bytes]], Mutate, tuple[str, ...]]] = {
    "recipe": (read_recipe, valid.recipes, reworded, ("r.yml",)),
    "study": (read_study, valid.studies, reworded, ("s.yml",)),
    "image": (read_any_image, valid.images, mutated, ("p.png", "p.tga")),
    "modern image": (read_any_image, valid.modern_images, mutated, ("p.jp2",)),
    "animation": (read_any_animation, valid.animations, mutated, ("p.gif",)),
    "clip": (read_clip, valid.clips, mutated, ("v.mkv",)),
    "checkpoint": (read_checkpoint, valid.checkpoints, mutated, ("c.safetensors", "c.pth")),
    "state": (read_state, valid.states, mutated, ("000000003.pt",)),
}


def fuzz(target: str, seeds: list[bytes], count: int, seed: int) -> int:
    """Read `count` mutated files, one after the other under the name `input`; prints a summary."""
    reader, _, mutate, names = TARGETS[target]
    soft = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + MEMORY
    resource.setrlimit(resource.RLIMIT_DATA, (soft, soft))
    rejected = 0
    for number in range(count):
        rng = random.Random(f"{target} {seed} {number}")
        path = Path.cwd() / rng.choice(names)
        path.write_bytes(mutate(rng, seeds))
        signal.setitimer(signal.ITIMER_PROF, PATIENCE)  # kills the process if it loops
        try:
            reader(path)
        except SrkdError as error:
            rejected += 1
            assert "\n" not in str(error), f"input {number}: {error}"
        except BaseException as error:
            raise AssertionError(f"input {number}: {type(error).__name__}: {error}") from error
        signal.setitimer(signal.ITIMER_PROF, 0)
    print(f"{count} inputs, {rejected} rejected, {count - rejected} read", flush=True)
    return 0


@pytest.mark.parametrize("target", list(TARGETS))
def test_readers_read_or_refuse(
    target: str, tmp_path: Path, rounds: Callable[[int, int], int], tell: Callable[[str], None]
) -> None:
    if target == "clip":
        pytest.importorskip("av", reason="the extra video is not installed")
    (tmp_path / "seeds").mkdir()
    (tmp_path / "work").mkdir()
    seeds = TARGETS[target][1](tmp_path / "seeds")
    count = rounds(200, 10_000)
    ended = run(partial(fuzz, target, seeds, count, 0), tmp_path / "work", patience=100 + count)
    assert ended.code == 0, f"exit code {ended.code}: {ended.output[-4000:]}"
    assert not ended.strays
    assert {path.name for path in (tmp_path / "work").iterdir()} <= {*TARGETS[target][3], "cache"}
    tell(f"{ended.output.splitlines()[-1]}, {ended.seconds:.0f} s")

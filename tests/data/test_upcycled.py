"""Windows of HR images as inputs, whose targets are teachers' outputs."""

from typing import Any

import numpy as np
import pytest

from srkd.data.patches import OUTPUT_STEPS, Patches, PatchSource
from srkd.data.upcycled import LabelledImages, Upcycled, UpcycledOutputs, Zoomed
from support import textured


class Images:
    """Two images of different sizes at x2, the LR of which is every second pixel."""

    sizes = ((40, 52), (64, 36))

    def __len__(self) -> int:
        return 2

    def hr(self, number: int) -> np.ndarray:
        return textured(number, *self.sizes[number])

    def lr(self, number: int) -> np.ndarray:
        return self.hr(number)[::2, ::2]

    def name(self, number: int) -> str:
        return f"p{number}"


class Repeats:
    """A teacher's outputs: each pixel repeated, `lighter` levels lighter."""

    dtype = np.dtype(np.int16)

    def __init__(self, images: Any, lighter: float) -> None:
        self.images, self.lighter = images, lighter

    def image(self, number: int) -> np.ndarray:
        levels = self.images.lr(number).repeat(2, 0).repeat(2, 1) + self.lighter
        return np.rint(levels / 255 * OUTPUT_STEPS).astype(np.int16)


def source(lighter: float, share: float) -> LabelledImages:
    images = Images()
    return LabelledImages(Repeats(images, lighter), Repeats(Zoomed(images), lighter), share)


def drawn(zoomed: float, number: int, seed: int = 3) -> dict[str, Any]:
    sources = [source(0.0, 1.0), source(8.0, 3.0)]
    outputs = {f"o{n}": UpcycledOutputs(each, 2) for n, each in enumerate(sources)}
    patches = Patches(gt_size=16, batch=64, scale=2, seed=seed)
    return PatchSource(Upcycled(Images(), sources), patches, outputs, zoomed).draw(number)


def test_a_window_has_the_size_of_lr_and_is_the_same_for_all_runs() -> None:
    images = Images()
    for number in range(2):
        window, hr = Zoomed(images).lr(number), images.hr(number)
        assert window.shape == images.lr(number).shape and np.array_equal(window, Zoomed(images).lr(number))
        places = np.lib.stride_tricks.sliding_window_view(hr, window.shape)
        assert (places == window).all((-1, -2, -3)).sum() == 1
        assert Zoomed(images).hr(number).shape == hr.shape


def test_targets_are_the_weighted_mean_of_the_outputs() -> None:
    batch = drawn(0.5, 0)
    zoomed = batch["index"] >= 2
    assert 16 < zoomed.sum() < 48
    repeated = batch["lr"].repeat(2, 1).repeat(2, 2)
    expected = np.clip(repeated.astype(int) + 6, 0, 255)  # 0 and 8 levels lighter, weighted 1 and 3
    assert np.abs(batch["hr"][zoomed].astype(int) - expected[zoomed]).max() <= 1
    assert np.abs(batch["o1"][zoomed] / OUTPUT_STEPS * 255 - repeated[zoomed] - 8).max() < 0.01
    assert np.abs(batch["hr"][~zoomed].astype(int) - expected[~zoomed]).max() > 8  # of the others the ground truth


def test_a_batch_depends_on_seed_and_number_alone() -> None:
    first, again, other, next_one = drawn(0.5, 7), drawn(0.5, 7), drawn(0.5, 7, seed=4), drawn(0.5, 8)
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first["lr"], other["lr"]) and not np.array_equal(first["lr"], next_one["lr"])


@pytest.mark.parametrize("zoomed", [0.0, 0.25, 0.9])
def test_the_share_of_zoomed_patches(zoomed: float) -> None:
    shares = [(drawn(zoomed, number)["index"] >= 2).mean() for number in range(10)]
    assert abs(np.mean(shares) - zoomed) < 0.06


def test_without_zoomed_patches_batches_are_those_of_the_images() -> None:
    patches = Patches(gt_size=16, batch=64, scale=2, seed=3)
    plain, none = PatchSource(Images(), patches).draw(5), drawn(0.0, 5)
    assert all(np.array_equal(plain[key], none[key]) for key in ("lr", "hr", "index"))

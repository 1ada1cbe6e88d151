from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from srkd.inference.alpha import _filled, nearest_rows, split_alpha
from srkd.inference.model import Model
from support import textured

RNG = np.random.default_rng(0)


class Blurred(nn.Module):
    """Mixes neighbours and tints grey, as trained networks do."""

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.interpolate(x, scale_factor=2, mode="bicubic").clamp(0, 1)
        return y * torch.tensor([1.0, 0.9, 0.8])[:, None, None]


MODEL = Model(Blurred(), 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("alpha", [False, True])
def test_grey_stored_as_rgb_is_done_as_grey(dtype: type, alpha: bool) -> None:
    levels = 1.0 if dtype is np.float32 else np.iinfo(dtype).max
    grey = (RNG.integers(0, 2, (40, 50, 1)) * levels).astype(dtype)  # dithered
    more = [(RNG.random((40, 50, 1)) * levels).astype(dtype)] if alpha else []
    result = MODEL.upscale(np.concatenate([np.repeat(grey, 3, 2), *more], 2))
    expected = MODEL.upscale(np.concatenate([grey, *more], 2))
    assert result.shape == (80, 100, 4 if alpha else 3) and result.dtype == dtype
    np.testing.assert_array_equal(result[..., :3], np.repeat(expected[..., :1], 3, 2))
    np.testing.assert_array_equal(result[..., 3:], expected[..., 1:])


def test_one_coloured_pixel_makes_an_image_coloured() -> None:
    image = np.repeat(textured(0, 40, 50)[..., :1], 3, 2)
    image[33, 7, 1] ^= 1
    assert not split_alpha(image).grey_rgb
    assert split_alpha(image).colour.shape == (40, 50, 3)


@pytest.mark.parametrize("tile", [0, 16])
@pytest.mark.parametrize("outscale", [2.0, 1.5])
def test_colours_under_full_transparency_are_data(tile: int, outscale: float) -> None:
    image = np.dstack([textured(0, 40, 40), np.zeros((40, 40), np.uint8)])
    image[:20, :, 3] = 255
    result = MODEL.upscale(image, tile=tile, outscale=outscale)
    whole = MODEL.upscale(image[..., :3], outscale=outscale)
    hidden = result[..., 3] == 0
    assert hidden.sum() > 400 * outscale
    np.testing.assert_array_equal(result[hidden][:, :3], whole[hidden])


def test_colours_that_are_all_but_transparent_neither_bleed_nor_go() -> None:
    image = np.zeros((40, 40, 4), np.uint8)
    image[10:30, 10:30] = (200, 60, 30, 255)
    ring = np.zeros((40, 40), bool)
    ring[7:33, 7:33] = True
    ring[10:30, 10:30] = False
    image[ring] = (1, 2, 3, 3)  # as soft brushes leave
    result = Model(nn.Upsample(scale_factor=2, mode="bilinear"), 2).upscale(image)
    np.testing.assert_array_equal(np.unique(result[result[..., 3] > 8][:, :3], axis=0), [[200, 60, 30]])
    np.testing.assert_array_equal(result[30, 15], (1, 2, 3, 3))


@pytest.mark.parametrize(
    ("shape", "share"),
    [((1, 1), 1), ((1, 9), 0.6), ((9, 1), 0.6), ((7, 11), 0.9), ((40, 37), 0.97), ((300, 41), 0.999)],
)
def test_hidden_pixels_take_the_colour_of_a_nearest_visible_one(shape: tuple[int, int], share: float) -> None:
    hidden = RNG.random(shape) < share
    index = np.arange(hidden.size).reshape(*shape, 1)
    filled = _filled(index, hidden)[..., 0]
    if hidden.all():
        np.testing.assert_array_equal(filled, index[..., 0])
        return
    rows, columns = np.indices(shape)
    seen = np.argwhere(~hidden)
    nearest = (np.abs(rows[..., None] - seen[:, 0]) + np.abs(columns[..., None] - seen[:, 1])).min(-1)
    at = np.divmod(filled, shape[1])
    assert not hidden[at].any()
    np.testing.assert_array_equal(np.abs(at[0] - rows) + np.abs(at[1] - columns), nearest)


def test_nearest_rows_in_blocks_equal_the_whole() -> None:
    plane = textured(0, 7, 9)
    whole = nearest_rows(plane, (20, 30), 0, 20)
    blocks = [nearest_rows(plane, (20, 30), i, i + 5) for i in range(0, 20, 5)]
    np.testing.assert_array_equal(np.concatenate(blocks), whole)
    np.testing.assert_array_equal(nearest_rows(plane, (14, 18), 0, 14), plane.repeat(2, 0).repeat(2, 1))

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import srkd
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.inference.model import Model
from support import textured

MODEL = Model(nn.Upsample(scale_factor=2), 2)
COLOUR = textured(0, 10, 14)


def doubled(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, 0).repeat(2, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, ">f4", ">f8"])
def test_floats_come_back_as_they_were(dtype: Any) -> None:
    image = (COLOUR / 255).astype(dtype)
    result = MODEL.upscale(image)
    assert result.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_allclose(result, doubled(image), atol=1e-6)


# What each mode is made of, and the channels of its result; 0 for an array (H, W).
MODES = {
    "1": ("RGB", 0),
    "L": ("RGB", 0),
    "LA": ("RGBA", 2),
    "La": ("LA", 2),
    "RGB": ("RGB", 3),
    "RGBA": ("RGBA", 4),
    "RGBa": ("RGBA", 4),
    "P": ("RGB", 3),
    "PA": ("P", 4),
    "CMYK": ("RGB", 3),
    "YCbCr": ("RGB", 3),
    "RGBX": ("RGB", 3),
    "HSV": ("RGB", 3),
}


@pytest.mark.parametrize("mode", list(MODES))
def test_pillow_images_of_every_mode(mode: str) -> None:
    rgba = np.concatenate([COLOUR, np.full((10, 14, 1), 255, np.uint8)], 2)
    source, channels = MODES[mode]
    base = Image.fromarray(rgba) if source in ("RGBA", "LA") else Image.fromarray(COLOUR)
    image = base.convert(source).convert(mode)
    result = MODEL.upscale(image)
    assert result.shape == ((20, 28) if channels == 0 else (20, 28, channels)) and result.dtype == np.uint8
    if mode in ("RGB", "RGBA"):
        np.testing.assert_array_equal(result, doubled(np.asarray(image)))
    if mode == "P":
        np.testing.assert_array_equal(result, doubled(np.asarray(image.convert("RGB"))))


def test_pillow_images_deep_transparent_and_turned(tmp_path: Path) -> None:
    deep = np.arange(140, dtype=np.uint16).reshape(10, 14) * 400
    for image in (Image.fromarray(deep), Image.fromarray(deep.astype(np.int32))):
        np.testing.assert_array_equal(MODEL.upscale(image), doubled(deep))
    floats = np.linspace(0, 1, 140, dtype=np.float32).reshape(10, 14)
    np.testing.assert_allclose(MODEL.upscale(Image.fromarray(floats)), doubled(floats), atol=1e-6)
    keyed = Image.fromarray(COLOUR)
    keyed.info["transparency"] = tuple(int(value) for value in COLOUR[0, 0])
    assert MODEL.upscale(keyed).shape == (20, 28, 4)
    turned = Image.fromarray(COLOUR)
    turned.getexif()[274] = 6  # a camera held upright
    turned.save(tmp_path / "turned.png", exif=turned.getexif())
    with Image.open(tmp_path / "turned.png") as opened:
        np.testing.assert_array_equal(MODEL.upscale(opened), MODEL.upscale(tmp_path / "turned.png"))
    with pytest.raises(SrkdError, match="mode I ranges from -1 to 5"):
        MODEL.upscale(Image.fromarray(np.array([[-1, 5]], np.int32)))


def test_lists_and_their_mistakes(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", ImageData(COLOUR))
    several = [tmp_path / "a.png", str(tmp_path / "a.png"), COLOUR, Image.fromarray(COLOUR)]
    for given in (several, tuple(several)):
        results = MODEL.upscale(given)
        assert isinstance(results, list) and len(results) == 4
        assert all(np.array_equal(result, doubled(COLOUR)) for result in results)
    assert MODEL.upscale([]) == []
    with pytest.raises(SrkdError, match=r"image 1 of the list: an image is a path, .*; got None"):
        MODEL.upscale([COLOUR, None])
    with pytest.raises(SrkdError, match="image 0 of the list: a list within a list"):
        MODEL.upscale([[COLOUR]])


HOLE = (COLOUR / 255).astype(np.float64)
HOLE[3, 5, 1] = np.nan


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, "got None, which OpenCV's imread returns"),
        (3, "got int"),
        (torch.zeros(3, 4, 4), r"got a torch tensor: pass tensor.permute\(1, 2, 0\)"),
        (HOLE, "float64 image contains NaN, first at row 3, column 5"),
        (HOLE.astype(np.float32), "float32 image contains NaN, first at row 3, column 5"),
        (COLOUR.astype(np.float64), r"float64 images must be in \[0, 1\], and this one ranges from .* to 255"),
        (np.full((4, 4), np.inf), "ranges from inf to inf"),
        (COLOUR.astype(np.int64), "arrays must be uint8, uint16, or float32 or float64.*got int64"),
        (np.array([[None]]), "got object"),
        (np.zeros((2, 2, 5), np.uint8), "got shape"),
        (np.zeros((0, 2, 3), np.uint8), "got shape"),
    ],
)
def test_what_is_no_image_is_refused_by_name(image: Any, words: str) -> None:
    with pytest.raises(SrkdError, match=words) as caught:
        MODEL.upscale(image)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shape", [(4, 4, 3), (4, 4), (1, 4, 4, 4), (1, 3, 4, 4)])
def test_a_call_takes_batches_only(shape: tuple[int, ...]) -> None:
    with pytest.raises(SrkdError, match=r"expected images \(N, H, W, 3 or 1\), got shape .*; `upscale` takes"):
        MODEL(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [">u2", ">f4"])
def test_pixels_in_the_other_order_of_bytes(dtype: str) -> None:
    pixels = (COLOUR / 255 * (65535 if dtype == ">u2" else 1)).astype(dtype)
    for result in (MODEL(pixels[None])[0], np.concatenate(list(MODEL.upscale_rows(pixels)))):
        assert result.dtype == pixels.dtype.newbyteorder("=")
        np.testing.assert_allclose(result, doubled(pixels), atol=1e-6)


@pytest.mark.parametrize("pixels", [[COLOUR], None, COLOUR[None].astype(np.float64)])
def test_pixels_of_another_kind_are_named(pixels: Any) -> None:
    for call in (MODEL, lambda given: list(MODEL.upscale_rows(given))):
        with pytest.raises(SrkdError, match="expected an array of uint8, uint16, or float32"):
            call(pixels)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tile": 16.5}, "tile must be 0 (none) or an integer number of pixels, got 16.5"),
        ({"tile": "16"}, "tile must be 0 (none) or an integer number of pixels, got '16'"),
        ({"tile": [16]}, "tile must be 0 (none) or an integer number of pixels, got list"),
        ({"outscale": "2"}, "the scale must be a positive number, got '2'"),
        ({"outscale": True}, "the scale must be a positive number, got True"),
        ({"outscale": 1j}, "the scale must be a positive number, got 1j"),
        ({"self_ensemble": "no"}, "self_ensemble must be True or False, got 'no'"),
        ({"model": torch.nn.Identity()}, "name must be a string or a Path, got torch.nn.modules.linear.Identity"),
        ({"model": None}, "name must be a string or a Path, got None"),
        ({"model": "auto", "scale": 2.5}, "scale must be an integer, got 2.5"),
        ({"scale": 3}, "the model is a network for x2, not x3; outscale resizes"),
    ],
)
def test_options_of_another_type_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SrkdError) as caught:
        srkd.upscale(COLOUR, **{"model": MODEL, **options})
    assert str(caught.value) == words


def test_numbers_of_numpy_are_numbers() -> None:
    expected = MODEL.upscale(COLOUR, tile=8, outscale=1.5)
    np.testing.assert_array_equal(MODEL.upscale(COLOUR, np.int64(8), outscale=np.float32(1.5)), expected)  # type: ignore[arg-type]


def test_the_functions_of_the_package() -> None:
    model = srkd.load("auto", 2, device="cpu")
    assert model.device == torch.device("cpu")
    expected = model.upscale(COLOUR)
    np.testing.assert_array_equal(srkd.upscale(COLOUR), expected)
    np.testing.assert_array_equal(srkd.upscale([Image.fromarray(COLOUR)], model, tile=8)[0], expected)
    assert srkd.upscale(COLOUR, "edsr_16x8_x2_cc0", 2, outscale=3, device=torch.device("cpu")).shape == (30, 42, 3)
    with pytest.raises(SrkdError, match='device "nowhere" is not available'):
        srkd.load("auto", device="nowhere")

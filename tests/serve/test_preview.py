"""Images for the page: results that are larger than the images that are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from srkd.errors import SrkdError
from srkd.images import read
from srkd.images.metadata import Metadata
from srkd.images.read import ImageData, read_image, write_image
from srkd.serve.preview import preview
from support import textured


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_result_in_tiff_is_shown_whatever_its_size(
    channels: int, dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.concatenate([textured(0, 300, 200), textured(1, 300, 200)], 2)[..., :channels]
    result = ImageData(pixels.astype(dtype) * (np.iinfo(dtype).max // 255))
    write_image(tmp_path / "a.tif", result)
    with monkeypatch.context() as patch:
        patch.setattr(read, "MAX_PIXELS", 1000)
        with pytest.raises(SrkdError, match="more than the limit of 1,000"):
            preview(tmp_path / "a.tif", "tiff", tmp_path / "a.png")
        shown, kind = preview(tmp_path / "a.tif", "tiff", tmp_path / "a.png", own=True)
    assert (shown, kind) == (tmp_path / "a.png", "image/png")
    assert np.array_equal(read_image(shown).pixels, pixels)


def test_the_colour_profile_of_a_result_is_kept(tmp_path: Path) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    write_image(tmp_path / "a.tif", ImageData(textured(0, 30, 20), metadata=Metadata(icc=profile)))
    preview(tmp_path / "a.tif", "tiff", tmp_path / "a.png", own=True)
    assert read_image(tmp_path / "a.png").metadata.icc == profile


@pytest.mark.parametrize("cut", [0, 500])
def test_a_result_that_somebody_replaced_is_an_error_of_one_line(cut: int, tmp_path: Path) -> None:
    if cut:
        write_image(tmp_path / "a.tif", ImageData(textured(0, 300, 200)))
        (tmp_path / "a.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:-cut])
    else:
        (tmp_path / "a.tif").write_bytes(b"II*\0")
    with pytest.raises(SrkdError, match=r"a\.tif: ") as caught:
        preview(tmp_path / "a.tif", "tiff", tmp_path / "a.png", own=True)
    assert "\n" not in str(caught.value) and not (tmp_path / "a.png").exists()

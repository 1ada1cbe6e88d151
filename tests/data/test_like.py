import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from srkd.data.degradations import blur, gaussian_kernel
from srkd.data.like import Like, blur_sigma, jpeg_tables, like, noise
from srkd.errors import SrkdError
from srkd.images.resize import imresize

TABLES = (tuple(range(1, 65)), tuple(range(3, 67)))


def leaves(seed: int, side: int = 512) -> np.ndarray:
    """Discs that cover one another, with the statistics of edges that photographs have; float32 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    image = np.full((side, side, 3), 128, np.uint8)
    for _ in range(400):
        centre = tuple(int(v) for v in rng.integers(0, side, 2))
        colour = tuple(int(v) for v in rng.integers(20, 235, 3))
        cv2.circle(image, centre, int(6 + 60 * rng.random() ** 3), colour, -1)
    return image.astype(np.float32)


def photo(seed: int, noise: float, sigma: float) -> np.ndarray:
    """The discs, blurred by `sigma` and with white noise, at half their size."""
    pixels = leaves(seed)
    if sigma:
        size = 2 * int(np.ceil(6 * sigma)) + 1
        pixels = blur(pixels, gaussian_kernel(size, 2 * sigma, 2 * sigma, 0.0).astype(np.float32))
    pixels = imresize(pixels, 0.5)
    pixels += noise * np.random.default_rng(seed).standard_normal(pixels.shape)
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize("level", [0.0, 2.0, 5.0, 10.0, 25.0])
def test_noise_is_estimated(level: float, sigma: float) -> None:
    found = np.median([noise(photo(seed, level, sigma)) for seed in range(3)])
    assert found == pytest.approx(level, rel=0.1, abs=0.8)


@pytest.mark.parametrize("level", [0.0, 5.0])
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0, 3.0])
def test_blur_is_estimated(sigma: float, level: float) -> None:
    found = np.median([blur_sigma(photo(seed, level, sigma)) for seed in range(3)])
    assert found == pytest.approx(sigma, rel=0.16, abs=0.2)


@pytest.mark.parametrize("level", [0.0, 10.0])
def test_a_sharp_image_is_found_sharp(level: float) -> None:
    assert np.median([blur_sigma(photo(seed, level, 0.0)) for seed in range(3)]) < 0.55


def test_flat_and_clipped_images_have_neither() -> None:
    for grey in (0, 128, 255):
        flat = np.full((40, 50, 3), grey, np.uint8)
        assert noise(flat) == pytest.approx(0, abs=1e-6) and blur_sigma(flat) == 0
    small = np.full((3, 3, 3), 7, np.uint8)
    assert noise(small) == blur_sigma(small) == 0
    half = photo(0, 10.0, 0.0)
    half[:, : half.shape[1] // 2 + 40] = 255
    assert noise(half) == pytest.approx(10, rel=0.1)  # the white part does not count as free of noise


def save(path: Path, pixels: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_tables_are_read_and_written_exactly(subsampling: int, tmp_path: Path) -> None:
    pixels = photo(0, 0.0, 0.0)
    save(tmp_path / "a.jpg", pixels, qtables=[list(t) for t in TABLES], subsampling=subsampling)
    assert jpeg_tables(tmp_path / "a.jpg") == (TABLES, subsampling)
    found = like(str(tmp_path))
    assert set(found.jpeg) == {(TABLES, subsampling)}
    # The same pixels through the same tables give the same image, so that blocks and colours are those of the files.
    whole = Like(found.jpeg, (0.0, 0.0), (0.0, 0.0)).apply(pixels, 1, np.random.default_rng(0))
    assert np.array_equal(whole, np.asarray(Image.open(tmp_path / "a.jpg")))


def test_a_folder_is_measured(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "more" / f"{number}.jpg", photo(number, 8.0, 1.0), quality=(98, 95)[number % 2])
    Image.fromarray(photo(5, 8.0, 1.0)[..., 0]).save(tmp_path / "grey.jpeg", quality=95)  # one table
    found = like(str(tmp_path))
    assert len({tables for tables, _ in found.jpeg}) == 3 and "3 kinds of JPEG" in str(found)
    assert 0.5 < found.blur[0] <= found.blur[1] < 1.6 and 3 < found.noise[0] < found.noise[1] < 9
    lr = found.apply(leaves(9, 64).astype(np.uint8), 4, np.random.default_rng(1))
    again = found.apply(leaves(9, 64).astype(np.uint8), 4, np.random.default_rng(1))
    assert lr.shape == (16, 16, 3) and lr.dtype == np.uint8 and np.array_equal(lr, again)
    with pytest.raises(SrkdError, match="too small to downscale by 4"):
        found.apply(np.zeros((3, 3, 3), np.uint8), 4, np.random.default_rng(0))


def test_what_is_applied_is_estimated_again() -> None:
    given = Like(((((1,) * 64,) * 2, 0),), (6.0, 6.0), (1.0, 1.0))
    found = [given.apply(leaves(seed).astype(np.uint8), 2, np.random.default_rng(seed)) for seed in range(3)]
    assert np.median([noise(image) for image in found]) == pytest.approx(6, rel=0.1)
    assert np.median([blur_sigma(image) for image in found]) == pytest.approx(1, rel=0.25)


def test_other_folders_raise(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="no such folder"):
        like(str(tmp_path / "nowhere"))
    pixels = photo(0, 0.0, 0.0)
    save(tmp_path / "png" / "a.png", pixels)
    with pytest.raises(SrkdError, match="no JPEG files"):
        like(str(tmp_path / "png"))
    save(tmp_path / "both" / "a.png", pixels)
    save(tmp_path / "both" / "b.jpg", pixels)
    with pytest.raises(SrkdError, match=r"1 JPEG files and 1 PNG, such as a\.png; give a folder of one kind"):
        like(str(tmp_path / "both"))
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "a.jpg").write_bytes(b"not an image")
    with pytest.raises(SrkdError, match=r"a\.jpg: not an image"):
        like(str(tmp_path / "damaged"))


def test_jpegs_are_as_large_as_those_that_are_read(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    save(tmp_path / "a.jpg", photo(0, 0.0, 0.0), qtables=[list(t) for t in TABLES], subsampling=0)
    data = (tmp_path / "a.jpg").read_bytes()
    at = data.index(b"\xff\xc0") + 5  # the height and the width
    (tmp_path / "a.jpg").write_bytes(data[:at] + struct.pack(">HH", 10_000, 10_000) + data[at + 4 :])
    assert jpeg_tables(tmp_path / "a.jpg") == (TABLES, 0) and not recwarn.list
    (tmp_path / "a.jpg").write_bytes(data[:at] + struct.pack(">HH", 12_240, 16_320) + data[at + 4 :])
    with pytest.raises(SrkdError, match="more pixels than the limit of 150,000,000"):
        like(str(tmp_path))

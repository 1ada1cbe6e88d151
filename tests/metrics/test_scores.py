import numpy as np
import pytest

from srkd.errors import SrkdError
from srkd.integrations import basicsr
from srkd.metrics.scores import Protocol, score


def pair(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    hr = rng.integers(0, 256, (*shape, 3)).astype(np.uint8)
    noise = rng.normal(0, rng.uniform(2, 30), hr.shape)
    return np.clip(hr + noise, 0, 255).astype(np.uint8), hr


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("channel", ["Y", "RGB"])
@pytest.mark.parametrize("border", [0, 2, 4])
def test_psnr_and_ssim_equal_basicsr(seed: int, channel: str, border: int) -> None:
    sr, hr = pair(seed, (40 + seed, 53))
    ours = score(sr, hr, Protocol(2, border, channel))
    assert ours["psnr"] == pytest.approx(basicsr.psnr(sr, hr, border, channel == "Y"), abs=1e-4)
    assert ours["ssim"] == pytest.approx(basicsr.ssim(sr, hr, border, channel == "Y"), abs=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_ssim_equals_scikit_image_over_the_valid_region(seed: int) -> None:
    from skimage.metrics import structural_similarity

    sr, hr = pair(seed, (33, 47))
    _, whole = structural_similarity(
        hr, sr, channel_axis=2, gaussian_weights=True, sigma=1.5, data_range=255, use_sample_covariance=False, full=True
    )
    assert score(sr, hr, Protocol(2, 0, "RGB"))["ssim"] == pytest.approx(whole[5:-5, 5:-5].mean(), abs=1e-4)


def test_equal_images_have_infinite_psnr_and_ssim_one() -> None:
    _, hr = pair(0, (20, 20))
    assert score(hr, hr, Protocol.default(2)) == {"psnr": float("inf"), "ssim": pytest.approx(1)}


def test_rgb_is_another_protocol_with_its_own_stamp() -> None:
    assert Protocol.default(2).stamp() != Protocol.default(2, channel="RGB").stamp()
    assert "border 3 px" in Protocol.default(3).stamp()
    assert "self-ensemble" in Protocol.default(2, self_ensemble=True).stamp()
    assert "LR as given" in Protocol.default(2, lr="given").stamp()


def test_a_grey_files_values_are_used_unchanged() -> None:
    rng = np.random.default_rng(0)
    a, b = (np.repeat(rng.integers(0, 256, (24, 24, 1)), 3, 2).astype(np.uint8) for _ in range(2))
    plain = 10 * np.log10(255**2 / ((a[2:-2, 2:-2, 0].astype(float) - b[2:-2, 2:-2, 0]) ** 2).mean())
    assert score(a, b, Protocol.default(2), grey=True)["psnr"] == pytest.approx(plain)


def test_images_that_cannot_be_compared() -> None:
    _, hr = pair(0, (20, 20))
    with pytest.raises(SrkdError, match="output is 20x19, ground truth 20x20"):
        score(hr[:19], hr, Protocol.default(2))
    with pytest.raises(SrkdError, match="too small for a border"):
        score(hr[:8, :8], hr[:8, :8], Protocol.default(4))
    with pytest.raises(SrkdError, match="at least 11x11"):
        score(hr[:12, :12], hr[:12, :12], Protocol.default(2))

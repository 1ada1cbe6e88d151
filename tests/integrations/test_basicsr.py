from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from srkd.errors import SrkdError
from srkd.integrations import basicsr

RNG = np.random.default_rng(0)
Pair = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def pair() -> Pair:
    """A smooth image and a noisy copy, RGB uint8."""
    ramp = np.linspace(0, 255, 60)[:, None, None] * np.array([1.0, 0.4, 0.7]) * np.linspace(0.2, 1, 50)[None, :, None]
    noisy = ramp + RNG.normal(0, 12, ramp.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), ramp.astype(np.uint8)


def luma(rgb: np.ndarray) -> np.ndarray:
    return 16 + rgb.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255)


def test_imports_where_python_and_torchvision_lack_its_modules() -> None:
    """None in sys.modules makes an import fail as on Python 3.12 without setuptools, whatever runs this test."""
    program = """
import sys
gone = ["distutils", "distutils.version", "torchvision.transforms.functional_tensor"]
sys.modules.update(dict.fromkeys(gone))
from srkd.integrations import basicsr
assert "basicsr" not in sys.modules, "imported before it was asked for"
assert "EDSR" in basicsr.network_names()
from basicsr.archs.arch_util import LooseVersion
assert LooseVersion("0.28.0+cpu") >= LooseVersion("0.9.0")
import torch
from basicsr.data.degradations import rgb_to_grayscale
assert torch.allclose(rgb_to_grayscale(torch.ones(3, 1, 1)), torch.ones(1, 1, 1), atol=1e-3)
left = [name for name in gone if sys.modules.get(name)]
assert not left, f"stand-ins stayed: {left}"
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_builds_a_network_by_its_registered_name() -> None:
    network = basicsr.network("EDSR", num_in_ch=3, num_out_ch=3, num_feat=64, num_block=16, upscale=2)
    assert sum(p.numel() for p in network.parameters()) == 1_369_859
    assert network(torch.rand(1, 3, 5, 7)).shape == (1, 3, 10, 14)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("EDSRR", {}, 'unknown BasicSR network "EDSRR" (did you mean "EDSR"?)'),
        ("EDSR", {"num_feet": 3}, 'EDSR: unknown option "num_feet" (did you mean "num_feat"?)'),
        ("EDSR", {"num_in_ch": 3}, "num_out_ch"),
        ("EDSR", {"num_in_ch": 3, "num_out_ch": 3, "upscale": 5}, "scale 5 is not supported"),
    ],
)
def test_invalid_names_and_options_are_reported(name: str, options: dict[str, int], message: str) -> None:
    with pytest.raises(SrkdError) as caught:
        basicsr.network(name, **options)
    assert message in str(caught.value)


def test_a_missing_package_error_names_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    basicsr._import.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not basicsr.available()
    with pytest.raises(SrkdError, match="pip install basicsr"):
        basicsr.network_names()


def test_psnr_of_rgb_images(pair: Pair) -> None:
    image, reference = (p[3:-3, 3:-3] for p in pair)
    slow = 10 * math.log10(255**2 / np.mean((luma(image) - luma(reference)) ** 2))
    assert basicsr.psnr(*pair, crop_border=3) == pytest.approx(slow, abs=1e-4)
    slow = 10 * math.log10(255**2 / np.mean((image.astype(float) - reference.astype(float)) ** 2))
    assert basicsr.psnr(*pair, crop_border=3, y_channel=False) == pytest.approx(slow, abs=1e-9)


def test_ssim_agrees_with_scikit_image(pair: Pair) -> None:
    from skimage.metrics import structural_similarity

    image, reference = (luma(p[2:-2, 2:-2]) for p in pair)
    other = structural_similarity(
        image, reference, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert basicsr.ssim(*pair, crop_border=2) == pytest.approx(other, abs=1e-4)


def test_niqe_of_baboon_equals_matlab(data: Path) -> None:
    """5.72957338 by MATLAB R2021a, according to BasicSR's documentation."""
    first = min((data / "sr" / "eval" / "Set14" / "HR").glob("*.png"))
    baboon = cv2.cvtColor(cv2.imread(str(first)), cv2.COLOR_BGR2RGB)
    assert baboon.shape == (480, 500, 3)
    assert basicsr.niqe(baboon, crop_border=0) == pytest.approx(5.72957338, abs=1e-4)


def test_niqe_rejects_images_smaller_than_a_block() -> None:
    with pytest.raises(SrkdError, match="at least 96 x 96 pixels, got 92 x 96"):
        basicsr.niqe(np.zeros((100, 96, 3), np.uint8), crop_border=2)


def test_names_with_basicsrs_suffix_are_found_without_it():
    assert "SRVGGNetCompact" in basicsr.network_names()
    network = basicsr.network("SRVGGNetCompact", num_feat=8, num_conv=2, upscale=2)
    assert network(torch.rand(1, 3, 6, 6)).shape == (1, 3, 12, 12)

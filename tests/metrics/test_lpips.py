"""LPIPS: comparison with the original package, and errors for missing packages and files."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from srkd.errors import SrkdError
from srkd.images.resize import imresize
from srkd.metrics import evaluation, lpips
from srkd.metrics.registry import check
from srkd.metrics.scores import Protocol, score
from support import textured, torchvision_weights

HR = textured(1, 200, 204)
BLURRED = imresize(imresize(HR, 0.5), 2.0)
installed = pytest.mark.skipif(importlib.util.find_spec("lpips") is None, reason="needs lpips: extra `perceptual`")
LAYERS = ((0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3))


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return torchvision_weights(tmp_path_factory.mktemp("alexnet") / "alexnet.pth", LAYERS)


def lpips_of(output: np.ndarray, hr: np.ndarray) -> float:
    return score(output, hr, Protocol.default(2), metrics=["lpips"])["lpips"]


@installed
def test_lpips_equals_the_package_with_the_weights_of_the_file(alexnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(lpips.WEIGHTS, str(alexnet))
    found = lpips_of(BLURRED, HR)
    network, state = lpips._network(alexnet), torch.load(alexnet)
    convolutions = [m for m in network.net.modules() if isinstance(m, torch.nn.Conv2d)]
    for layer, (number, *_) in zip(convolutions, LAYERS, strict=True):
        assert torch.equal(layer.weight, state[f"features.{number}.weight"])
    a, b = (torch.from_numpy(p[2:-2, 2:-2].astype(np.float32)).permute(2, 0, 1)[None] / 255 for p in (BLURRED, HR))
    assert found == pytest.approx(network(a, b, normalize=True).item(), rel=1e-4) and found > 0
    assert lpips_of(HR, HR) == 0
    noisy = np.clip(HR + np.random.default_rng(0).normal(0, 60, HR.shape), 0, 255).astype(np.uint8)
    assert lpips_of(noisy, HR) > found
    with pytest.raises(SrkdError, match="LPIPS needs at least 32x32 pixels inside the border, got 200x26"):
        lpips_of(HR[:30], HR[:30])


def test_missing_packages_are_reported_before_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "none.pth"
    monkeypatch.setenv(lpips.WEIGHTS, str(path))
    with pytest.raises(SrkdError, match=r"needs AlexNet's weights, .*none.pth not found: download .* SRKD_ALEX"):
        evaluation.evaluate(["bicubic"], ["/no/such/folder"], 2, metrics=["psnr", "lpips"])
    path.touch()
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lpips", None)
        with pytest.raises(SrkdError, match=r"LPIPS is not installed .*: pip install 'srkd\[perceptual\]'"):
            check(["lpips"])


@installed
def test_files_with_other_weights_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "other.pth"
    monkeypatch.setenv(lpips.WEIGHTS, str(path))
    torch.save({"features.0.weight": torch.zeros(1)}, path)
    with pytest.raises(SrkdError, match=r"other\.pth does not contain AlexNet's weights"):
        check(["lpips"])

"""DISTS against its formula, with random weights of VGG-16's layout."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from srkd import resources
from srkd.errors import SrkdError
from srkd.files import wheels
from srkd.images.resize import imresize
from srkd.metrics import dists
from srkd.metrics.registry import check
from srkd.metrics.scores import Protocol, score
from support import textured, torchvision_weights

HR = textured(1, 64, 72)
BLURRED = imresize(imresize(HR, 0.5), 2.0)
STAGES = ([0, 2], [5, 7], [10, 12, 14], [17, 19, 21], [24, 26, 28])
CHANNELS = (3, 64, 128, 256, 512, 512)


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    layers = [(number, width, 3) for stage, width in zip(STAGES, CHANNELS[1:], strict=True) for number in stage]
    return torchvision_weights(tmp_path_factory.mktemp("vgg16") / "vgg16.pth", layers)


@pytest.fixture
def weights(vgg16: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights of the channels from a stand-in for the package index, and VGG-16's from the environment."""
    rng = torch.Generator().manual_seed(0)
    weights = {key: torch.rand(1, sum(CHANNELS), 1, 1, generator=rng) for key in ("alpha", "beta")}

    def fetch(name: str, source: str, files: list[wheels.WheelFile]) -> None:
        (file,) = files
        assert source == "dists-pytorch==0.1" and file.path == resources.cache() / "models" / "dists.pt"
        file.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({key: torch.nn.Parameter(value) for key, value in weights.items()}, file.path)

    monkeypatch.setattr(wheels, "fetch", fetch)
    monkeypatch.setenv(dists.WEIGHTS, str(vgg16))
    return weights


def maps(state: dict[str, torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
    """VGG-16's maps with the paper's pooling in place of the maximum."""
    found = [x]
    x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    window = torch.tensor([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]) / 4
    for number, stage in enumerate(STAGES):
        if number:
            squares = F.conv2d((x**2).flatten(0, 1)[:, None], window[None, None], stride=2, padding=1)
            x = (squares.unflatten(0, x.shape[:2])[:, :, 0] + 1e-12).sqrt()
        for layer in stage:
            x = F.relu(F.conv2d(x, state[f"features.{layer}.weight"], state[f"features.{layer}.bias"], padding=1))
        found.append(x)
    return found


def test_dists_is_its_formula(vgg16: Path, weights: dict[str, torch.Tensor]) -> None:
    a, b = (torch.from_numpy(p[2:-2, 2:-2] / 255).permute(2, 0, 1)[None].float() for p in (BLURRED, HR))
    state, value, start = torch.load(vgg16), 0.0, 0
    for x, y in zip(maps(state, a), maps(state, b), strict=True):
        for channel, (p, q) in enumerate(zip(x[0].double().numpy(), y[0].double().numpy(), strict=True), start):
            texture = (2 * p.mean() * q.mean() + 1e-6) / (p.mean() ** 2 + q.mean() ** 2 + 1e-6)
            covariance = ((p - p.mean()) * (q - q.mean())).mean()
            structure = (2 * covariance + 1e-6) / (p.var() + q.var() + 1e-6)
            alpha, beta = (weights[key][0, channel, 0, 0].item() for key in ("alpha", "beta"))
            value += alpha * texture + beta * structure
        start += x.shape[1]
    expected = 1 - value / (weights["alpha"].sum() + weights["beta"].sum()).item()
    found = score(BLURRED, HR, Protocol.default(2), metrics=["dists"])["dists"]
    assert found == pytest.approx(expected, rel=1e-3) and found > 0
    assert score(HR, HR, Protocol.default(2), metrics=["dists"])["dists"] == pytest.approx(0, abs=1e-6)
    assert "DISTS" in Protocol.default(2).stamp(["psnr", "dists"])


def test_small_images_and_missing_or_other_weights_raise(
    weights: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SrkdError, match="DISTS needs at least 32x32 pixels inside the border, got 68x26"):
        score(HR[:30], HR[:30], Protocol.default(2), metrics=["dists"])
    monkeypatch.setenv(dists.WEIGHTS, str(tmp_path / "none.pth"))
    with pytest.raises(SrkdError, match=r"DISTS needs VGG-16's weights, .*none.pth not found: download .* SRKD_VGG16"):
        check(["dists"])
    torch.save({"features.0.weight": np.zeros(1)}, tmp_path / "none.pth")
    with pytest.raises(SrkdError, match=r"none\.pth does not contain VGG-16's weights"):
        check(["dists"])

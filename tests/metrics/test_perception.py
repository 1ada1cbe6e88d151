"""NIQE and LPIPS: comparison with the original packages, stamps, and errors for missing packages and files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.images.resize import imresize
from srkd.integrations import basicsr
from srkd.metrics import evaluation, perception
from srkd.metrics.scores import Protocol, check, score
from support import textured

HR = textured(1, 200, 204)
BLURRED = imresize(imresize(HR, 0.5), 2.0)


@pytest.fixture(scope="module")
def alexnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of AlexNet's shape under torchvision's names, random."""
    state, rng, width = {}, torch.Generator().manual_seed(0), 3
    for number, following, side in ((0, 64, 11), (3, 192, 5), (6, 384, 3), (8, 256, 3), (10, 256, 3)):
        scale = (2 / (width * side**2)) ** 0.5
        state[f"features.{number}.weight"] = torch.randn(following, width, side, side, generator=rng) * scale
        state[f"features.{number}.bias"] = torch.zeros(following)
        width = following
    state["classifier.1.weight"] = torch.zeros(2, 2)
    path = tmp_path_factory.mktemp("alexnet") / "alexnet.pth"
    torch.save(state, path)
    return path


def test_niqe_equals_basicsr_within_the_border() -> None:
    protocol = Protocol.default(2)
    found = score(BLURRED, HR, protocol, metrics=["niqe"])
    assert found == {"niqe": basicsr.niqe(BLURRED, 2)} and found["niqe"] > 0
    small = HR[:100, :195]
    with pytest.raises(SrkdError, match="NIQE needs at least two blocks of 96x96 pixels inside the border, got 191x96"):
        score(small, small, protocol, metrics=["niqe"])
    flat = np.full_like(HR, 128)
    with pytest.raises(SrkdError, match="NIQE's statistics of this image are degenerate"):
        score(flat, flat, protocol, metrics=["niqe"])


def test_lpips_equals_the_package_with_the_weights_of_the_file(alexnet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lpips")
    monkeypatch.setenv(perception.WEIGHTS, str(alexnet))
    found = perception.lpips(BLURRED, HR, 2)
    network, state = perception._network(str(alexnet)), torch.load(alexnet)
    convolutions = [m for m in network.net.modules() if isinstance(m, torch.nn.Conv2d)]
    for layer, number in zip(convolutions, (0, 3, 6, 8, 10), strict=True):
        assert torch.equal(layer.weight, state[f"features.{number}.weight"])
    a, b = (torch.from_numpy(p[2:-2, 2:-2].astype(np.float32)).permute(2, 0, 1)[None] / 255 for p in (BLURRED, HR))
    assert found == pytest.approx(network(a, b, normalize=True).item(), rel=1e-4) and found > 0
    assert perception.lpips(HR, HR, 2) == 0
    noisy = np.clip(HR + np.random.default_rng(0).normal(0, 60, HR.shape), 0, 255).astype(np.uint8)
    assert perception.lpips(noisy, HR, 2) > found
    with pytest.raises(SrkdError, match="LPIPS needs at least 32x32 pixels inside the border, got 200x26"):
        perception.lpips(HR[:30], HR[:30], 2)


def test_missing_packages_are_reported_before_scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lpips")
    monkeypatch.setenv(perception.WEIGHTS, str(tmp_path / "none.pth"))
    with pytest.raises(SrkdError, match=r"needs AlexNet's weights, .*none.pth not found: download .* SRKD_ALEX"):
        evaluation.evaluate(["bicubic"], ["/no/such/folder"], 2, metrics=["psnr", "lpips"])
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "none.pth")
    with pytest.raises(SrkdError, match=r"none\.pth does not contain AlexNet's weights"):
        check(["lpips"])
    monkeypatch.setitem(__import__("sys").modules, "lpips", None)
    perception._network.cache_clear()
    with pytest.raises(SrkdError, match=r"LPIPS is not installed .*: pip install lpips"):
        check(["lpips"])


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["psnr", "nique"], 'unknown metric "nique" .did you mean "niqe"'),
        (["psnr", "psnr"], "list each once"),
        ([""], 'unknown metric ""'),
    ],
)
def test_unknown_metrics(names: list[str], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        evaluation.of_study(f"Set5@{','.join(names)}")


def test_each_metric_has_its_stamp_and_its_column(tmp_path: Path) -> None:
    write_image(tmp_path / "set" / "a.png", ImageData(HR))
    folder = str(tmp_path / "set")
    plain = evaluation.evaluate(["bicubic"], [folder], 2)
    more = evaluation.evaluate(["bicubic"], [folder], 2, metrics=["psnr", "niqe"])
    one, other = (results["models"][0]["sets"]["set"] for results in (plain, more))
    assert one["psnr"] == other["psnr"] and set(other["pictures"][0]) == {"name", "psnr", "niqe"}
    assert other["protocol"]["stamp"].startswith(one["protocol"]["stamp"]) and "NIQE" in other["protocol"]["stamp"]
    rows, columns = evaluation.table(more)
    assert columns == ["model", "parameters", "set", "PSNR (dB)", "NIQE"]
    assert rows[0]["NIQE"] == f"{basicsr.niqe(BLURRED, 2):.3f}"

"""The content loss against a VGG in torchvision's layout with random weights, by BasicSR's layer names."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import srkd.losses
from srkd.errors import SrkdError

WIDTHS = [4, 4, "M", 6, 6, "M", 8, 8, 8, 8, "M", 8, 8, 8, 8, "M", 8, 8, 8, 8, "M"]


@pytest.fixture(scope="module")
def vgg(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Sequential, Path]:
    """VGG-19's layers in torchvision's order, narrow and random, and the file with their weights."""
    layers: list[nn.Module] = []
    width = 3
    torch.manual_seed(0)
    for item in WIDTHS:
        if item == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(width, int(item), 3, padding=1), nn.ReLU()]
            width = int(item)
    features = nn.Sequential(*layers)
    path = tmp_path_factory.mktemp("vgg") / "vgg.pth"
    torch.save({f"features.{key}": value for key, value in features.state_dict().items()}, path)
    return features, path


def images() -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return torch.rand(2, 3, 32, 32, generator=rng), torch.rand(2, 3, 32, 32, generator=rng)


# Index of BasicSR's layer names in torchvision's `features`.
@pytest.mark.parametrize(("name", "last"), [("conv1_1", 0), ("relu2_2", 8), ("conv3_4", 16), ("conv5_4", 34)])
def test_layers_match_their_names(vgg: tuple[nn.Sequential, Path], name: str, last: int) -> None:
    features, path = vgg
    student, target = images()
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    deviation = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    ours = [features[: last + 1]((x - mean) / deviation) for x in (student, target)]
    for criterion, power in (("l1", 1), ("l2", 2)):
        loss = srkd.losses.build("PerceptualLoss", layer_weights={name: 2.0}, vgg_path=str(path), criterion=criterion)
        expected = 2 * (ours[0] - ours[1]).abs().pow(power).mean()
        torch.testing.assert_close(loss(student, target), expected)


def test_vgg_weights_are_frozen_and_not_in_the_state_dict(vgg: tuple[nn.Sequential, Path]) -> None:
    loss = srkd.losses.build("PerceptualLoss", layer_weights={"conv5_4": 1}, vgg_path=str(vgg[1]))
    assert not loss.state_dict() and not list(loss.parameters())


def test_invalid_inputs_raise(vgg: tuple[nn.Sequential, Path], tmp_path: Path) -> None:
    def build(**options: object) -> srkd.losses.Loss:
        given = {"layer_weights": {"conv5_4": 1}, "vgg_path": str(vgg[1])} | options
        return srkd.losses.build("PerceptualLoss", **given)

    with pytest.raises(SrkdError, match="unknown layer conv5_5; available: conv1_1, relu1_1"):
        build(layer_weights={"conv5_5": 1})
    with pytest.raises(SrkdError, match="layer_weights is empty"):
        build(layer_weights={})
    with pytest.raises(SrkdError, match=r'no VGG weights at "none\.pth"'):
        build(vgg_path="none.pth")
    state = torch.load(vgg[1])
    state["features.5.weight"] = torch.zeros(6, 5, 3, 3)
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(SrkdError, match=r"is not a VGG state dict: features.5 has weights \(6, 5, 3, 3\)"):
        build(vgg_path=str(tmp_path / "bad.pth"))
    small = torch.zeros(1, 3, 8, 8)
    with pytest.raises(SrkdError, match="deepest layer needs images of at least 16x16, got"):
        build().prepare(small, small)
    with pytest.raises(SrkdError, match="deepest layer needs images of at least 2x2, got"):
        build(layer_weights={"pool1": 1}).prepare(torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 1, 1))

"""Networks: published parameter counts for CIFAR-100, feature shapes at the taps, invalid names."""

from __future__ import annotations

import pytest
import torch

from srkd.adapters.classification.networks import build
from srkd.distill.taps import Taps
from srkd.errors import SrkdError

MEAN, STD = [0.5] * 3, [0.25] * 3

# Parameters in millions as published (Tian et al., ICLR 2020, and later work with their protocol), and exact counts.
PUBLISHED = {
    "ResNet8x4": (1.23, 1_233_540),
    "ResNet32x4": (7.43, 7_433_860),
    "VGG8": (3.97, 3_965_028),
    "VGG13": (9.46, 9_462_180),
    "WRN16-2": (0.70, 703_284),
    "WRN40-1": (0.57, 569_780),
    "WRN40-2": (2.26, 2_255_156),
    "ResNet20": (0.28, 278_324),
    "ResNet56": (0.86, 861_620),
    "ResNet110": (1.74, 1_736_564),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameter_counts(name: str) -> None:
    count = sum(p.numel() for p in build(name, 3, 100, MEAN, STD).parameters())
    assert count == PUBLISHED[name][1] and round(count / 1e6, 2) == PUBLISHED[name][0]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("ResNet8x4", [(64, 32), (128, 16), (256, 8)]),
        ("VGG8", [(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)]),
        ("WRN16-2", [(32, 32), (64, 16), (128, 8)]),
    ],
)
def test_shapes_at_the_taps(name: str, shapes: list[tuple[int, int]]) -> None:
    network = build(name, 3, 7, MEAN, STD).eval()
    with torch.no_grad(), Taps(network, ["stages.*"]) as taps:
        logits = network(torch.rand(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    assert [tuple(f.shape) for f in taps.features.values()] == [(2, c, s, s) for c, s in shapes]


@pytest.mark.parametrize("name", ["ResNet8", "VGG8", "WRN16-1"])
def test_grey_images_of_28(name: str) -> None:
    assert build(name, 1, 10, [0.3], [0.3])(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_input_is_normalised() -> None:
    torch.manual_seed(0)
    network, x = build("ResNet8", 3, 5, MEAN, STD).eval(), torch.rand(2, 3, 16, 16)
    bare = build("ResNet8", 3, 5, [0.0] * 3, [1.0] * 3).eval()
    weights = {key: value for key, value in network.state_dict().items() if key not in ("mean", "std")}
    bare.load_state_dict(weights, strict=False)
    assert torch.allclose(network(x), bare((x - 0.5) / 0.25), atol=1e-5)


@pytest.mark.parametrize("name", ["ResNet9", "ResNet8x2", "VGG16", "WRN16", "WRN17-2", "WRN16-0", "resnet", None])
def test_invalid_names_raise(name: object) -> None:
    with pytest.raises(SrkdError, match=r"network.type: unknown network"):
        build(name, 3, 10, MEAN, STD)

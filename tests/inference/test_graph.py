from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import srkd
from srkd.inference.graph import fuse
from srkd.networks import build
from support import textured

SPECS: list[dict[str, Any]] = [
    {"type": "EDSR", "num_feat": 8, "num_block": 3, "upscale": 2, "res_scale": 0.1},
    {"type": "EDSR", "num_feat": 8, "num_block": 2, "upscale": 3, "img_range": 1.0},
    {"type": "MSRResNet", "num_feat": 8, "num_block": 2, "upscale": 4},
    {"type": "SRResNet", "num_feat": 8, "num_block": 2, "upscale": 4},
    {"type": "NearestResNet", "num_feat": 8, "num_block": 2, "upscale": 3},
    {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 2, "upscale": 3},
]


def stirred(spec: dict[str, Any]) -> nn.Module:
    """A network whose biases and batch norm statistics are no longer the neutral ones that it starts with."""
    torch.manual_seed(0)
    network = build(spec).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.bias, module.weight):
                assert values is not None
                nn.init.normal_(values, 0.2)
            assert module.running_var is not None
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    return network


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec['type']}_x{spec['upscale']}")
def test_the_output_is_the_same_to_its_very_border(spec: dict[str, Any]) -> None:
    network = stirred(spec)
    x = torch.rand(2, 3, 13, 17)
    before = network.state_dict()
    with torch.inference_mode():
        for height, width in ((13, 17), (1, 1), (2, 5), (3, 2)):
            part = x[:, :, :height, :width]
            torch.testing.assert_close(fuse(network)(part), network(part), rtol=1e-5, atol=1e-5)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_trained_network_too() -> None:
    network = srkd.load("edsr_16x8_x2_cc0").network
    x = torch.from_numpy(textured(0, 40, 50)).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        torch.testing.assert_close(fuse(network)(x), network(x), rtol=0, atol=1e-5)


def test_nothing_is_left_to_compute_around_the_convolutions() -> None:
    fused = fuse(stirred(SPECS[0]))
    assert {block.res_scale for block in fused.body} == {1.0}  # type: ignore[union-attr]
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fuse(stirred(SPECS[3])).modules())


def test_another_network_is_copied_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.Upsample(scale_factor=2))
    x = torch.rand(1, 3, 5, 5)
    assert torch.equal(fuse(network)(x), network(x))


class _Keeping(nn.Module):
    """Keeps what its forward pass computes, as official networks do, and cannot be traced."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.full((1, 3, 1, 1), 0.4)
        self.convolution, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.mean = self.mean.type_as(x)
        output: torch.Tensor = self.norm(self.convolution(x - self.mean)) + self.mean
        return output if output.sum() > 0 else -output


def test_tracing_leaves_nothing_in_a_network_that_cannot_be_traced() -> None:
    network, image = _Keeping().eval(), torch.rand(1, 3, 8, 9)
    assert torch.equal(fuse(network)(image), network(image))

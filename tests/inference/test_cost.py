import pytest
import torch

from srkd import networks
from srkd.inference import cost


def test_multiply_adds_are_those_of_the_convolutions_written_out() -> None:
    network = networks.build({"type": "EDSR", "num_feat": 16, "num_block": 8, "upscale": 2})
    low, high = 640 * 360, 1280 * 720
    expected = 9 * low * (3 * 16 + 16 * 16 * 17 + 16 * 64) + 9 * high * 16 * 3
    assert cost.multiply_adds(network, 2) == pytest.approx(expected)
    assert cost.parameters(network) == 49_603


def test_activations_are_the_outputs_of_convolutions() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.PixelShuffle(2), torch.nn.Conv2d(2, 5, 1)
    )
    assert cost.activations(network) == 8 + 4 * 5

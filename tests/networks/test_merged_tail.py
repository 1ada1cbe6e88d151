"""EDSR's last two convolutions trained as one: the same function and gradients, and taps that see both."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from srkd import networks
from srkd.distill.taps import Taps
from srkd.networks import tail
from srkd.networks.edsr import EDSR
from srkd.networks.reparameterise import widen


def _network(upscale: int = 2, **options: int) -> EDSR:
    torch.manual_seed(0)
    network = networks.build({"type": "EDSR", "num_feat": 6, "num_block": 1, "upscale": upscale, **options})
    assert isinstance(network, EDSR)
    return network


def _gradients(network: EDSR, x: Tensor, merged: bool) -> list[Tensor]:
    """The output, and the gradients of a sum over it by every trained parameter."""
    network.train(merged)
    trained = [p for p in network.parameters() if p.requires_grad]
    output = network(x).double()
    weights = torch.linspace(-1, 2, output.numel(), dtype=output.dtype).view_as(output)
    gradients = torch.autograd.grad((output * weights).sum(), trained)
    return [output.detach(), *(gradient.double() for gradient in gradients)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(8, 5), (1, 4), (3, 1), (1, 1)])
@pytest.mark.parametrize("upscale", [2, 3, 4])
def test_outputs_and_gradients_are_those_of_the_two(
    upscale: int, size: tuple[int, int], layout: torch.memory_format
) -> None:
    """To the border, also where the first and the last row or column are the same one."""
    network = _network(upscale).double()
    x = torch.rand(2, 3, *size, dtype=torch.float64).to(memory_format=layout)
    for merged, plain in zip(_gradients(network, x, True), _gradients(network, x, False), strict=True):
        torch.testing.assert_close(merged, plain, rtol=1e-10, atol=1e-10)


def test_in_bf16_it_is_no_less_exact_than_the_two() -> None:
    network = _network(num_feat=16)
    x = torch.rand(2, 3, 16, 12).to(memory_format=torch.channels_last)
    exact = _gradients(network, x, False)
    with torch.autocast("cpu", torch.bfloat16):
        halves = [_gradients(network, x, merged) for merged in (True, False)]
    for reference, merged, plain in zip(exact, *halves, strict=True):
        allowed = 1.5 * (plain - reference).norm() + 1e-3 * reference.norm()
        assert 0 < (merged - reference).norm() < allowed


def test_branches_are_trained_behind_a_frozen_trunk() -> None:
    network = _network()
    widen(network)  # the first convolution, the trunk's, the widening and the last one have branches of their own
    network.double()
    tail_branches = ("kernel_branches.2.", "kernel_branches.3.")
    for name, parameter in network.named_parameters():
        torch.nn.init.normal_(parameter, std=0.1).requires_grad_(name.startswith(tail_branches))
    x = torch.rand(1, 3, 6, 6, dtype=torch.float64)
    for merged, plain in zip(_gradients(network, x, True), _gradients(network, x, False), strict=True):
        torch.testing.assert_close(merged, plain, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("path", ["upsample", "upsample.0", "conv_last"])
def test_a_tapped_convolution_is_computed(path: str) -> None:
    network = _network().train()
    x = torch.rand(1, 3, 6, 5)
    expected = network(x)
    taps = Taps(network, [path])
    with taps:
        torch.testing.assert_close(network(x), expected)
    assert taps.features[path].shape[1] == {"upsample": 6, "upsample.0": 24, "conv_last": 3}[path]


def test_training_after_inference_in_one_process() -> None:
    network = _network()
    tail._places_before_shuffle.cache_clear()
    with torch.inference_mode():
        tail.before_shuffle(tail.kernel_of(network.conv_last), 2)
    network.train()(torch.rand(1, 3, 6, 7)).sum().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())

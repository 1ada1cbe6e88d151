import pytest
import torch
from torch import nn

from srkd import networks
from srkd.errors import SrkdError
from srkd.integrations import basicsr


def test_the_published_discriminator() -> None:
    network = networks.build({"type": "SRGANDiscriminator"})
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [c.stride[0] for c in convolutions] == [1, 2] * 4
    assert [m.out_features for m in network.modules() if isinstance(m, nn.Linear)] == [1024, 1]
    assert len([m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]) == 7
    assert all(m.negative_slope == 0.2 for m in network.modules() if isinstance(m, nn.LeakyReLU))
    assert network(torch.rand(2, 3, 96, 96)).shape == (2, 1)


@pytest.mark.parametrize("side", [16, 32, 48])
def test_any_multiple_of_16(side: int) -> None:
    network = networks.build({"type": "SRGANDiscriminator", "num_feat": 2, "input_size": side, "num_dense": 8})
    assert network(torch.rand(2, 3, side, side)).shape == (2, 1)


@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("training", [True, False])
def test_vgg_style_equals_basicsr_with_its_own_weights(side: int, training: bool) -> None:
    options = {"num_in_ch": 3, "num_feat": 4, "input_size": side}
    theirs = basicsr.network("VGGStyleDiscriminator", **options).train(training)
    ours = networks.build({"type": "VGGStyleDiscriminator", **options}).train(training)
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, side, side)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "side", "message"),
    [
        ("SRGANDiscriminator", 40, "input_size must be a positive multiple of 16, got 40"),
        ("SRGANDiscriminator", 0, "input_size must be a positive multiple of 16, got 0"),
        ("VGGStyleDiscriminator", 96, "input_size must be 128 or 256, got 96"),
    ],
)
def test_unsupported_input_sizes_raise(kind: str, side: int, message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        networks.build({"type": kind, "input_size": side})


@pytest.mark.parametrize(("kind", "side"), [("SRGANDiscriminator", 32), ("VGGStyleDiscriminator", 128)])
def test_another_patch_size_raises(kind: str, side: int) -> None:
    network = networks.build({"type": kind, "num_feat": 2, "input_size": side})
    with pytest.raises(SrkdError, match=f"{kind} takes images of {side}x{side}, got {side}x{side - 16}: set"):
        network(torch.rand(2, 3, side, side - 16))


def test_spectral_norm_bounds_every_layer_in_place_of_batch_norm() -> None:
    torch.manual_seed(0)
    spec = {"type": "SRGANDiscriminator", "num_feat": 4, "input_size": 16, "num_dense": 8, "spectral": True}
    network = networks.build(spec).train()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    for _ in range(50):  # one power iteration each
        network(torch.rand(2, 3, 16, 16))
    layers = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 10
    for layer in layers:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1, abs=0.05)

from typing import Any

import pytest
import torch

from srkd import networks
from srkd.errors import SrkdError
from srkd.integrations import basicsr
from srkd.networks import checkpoint_formats


def count(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        ({"type": "EDSR", "num_feat": 64, "num_block": 16, "upscale": 2}, 1_369_859),
        ({"type": "EDSR", "num_feat": 16, "num_block": 8, "upscale": 2}, 49_603),
        ({"type": "MSRResNet", "upscale": 4}, 1_517_571),
    ],
)
def test_parameter_counts_are_the_published_ones(spec: dict[str, Any], parameters: int) -> None:
    assert count(networks.build(spec)) == parameters


@pytest.mark.parametrize("kind", ["EDSR", "MSRResNet"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_networks_equal_basicsr_with_its_own_weights(kind: str, scale: int) -> None:
    options = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 2, "upscale": scale}
    theirs = basicsr.network(kind, **options).eval()
    ours = networks.build({"type": kind, **options})
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 9, 11)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["EDSR", "MSRResNet", "SRResNet"])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_sizes(kind: str, scale: int) -> None:
    network = networks.build({"type": kind, "num_feat": 4, "num_block": 1}, scale).eval()
    assert network(torch.rand(1, 3, 7, 5)).shape == (1, 3, 7 * scale, 5 * scale)


def test_the_recipes_scale_is_the_default_and_a_contradiction_is_rejected() -> None:
    with pytest.raises(SrkdError, match="upscale is 4 but the recipe's scale is 2"):
        networks.build({"type": "EDSR", "upscale": 4}, 2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "EDSRR"}, r'unknown network "EDSRR" \(did you mean "EDSR"'),
        ({"type": "EDSR", "num_feet": 4}, r'unknown option "num_feet" \(did you mean "num_feat"'),
        ({"type": "EDSR", "upscale": 5}, "scale must be 3 or a power of two, got 5"),
        ({"type": "no.such.module:Net"}, "No module named"),
        ({"type": "torch.nn:NoNet"}, "NoNet"),
        ({"num_feat": 4}, "needs `type`"),
        ({"type": "RCAN", "num_feat": 4}, "RCAN"),
    ],
)
def test_invalid_specs_are_reported(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        networks.build(spec, None)


def test_networks_of_basicsr_and_by_import_path_are_built() -> None:
    rcan = networks.build(
        {"type": "RCAN", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_group": 1, "num_block": 1}, 2
    )
    assert type(rcan).__module__.startswith("basicsr") and rcan(torch.rand(1, 3, 8, 8)).shape == (1, 3, 16, 16)
    assert isinstance(networks.build({"type": "torch.nn:PixelShuffle", "upscale_factor": 2}), torch.nn.PixelShuffle)


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("kind", ["EDSR", "MSRResNet"])
def test_hyper_parameters_are_read_from_shapes(kind: str, scale: int) -> None:
    spec = {"type": kind, "num_feat": 6, "num_block": 3, "upscale": scale}
    found = checkpoint_formats.recognise(networks.build(spec).state_dict())
    assert found is not None and {k: found[0][k] for k in spec} == spec


def test_edsr_pytorch_keys_are_understood() -> None:
    network = networks.build({"type": "EDSR", "num_feat": 6, "num_block": 2, "upscale": 4})
    renamed = {"sub_mean.weight": torch.eye(3)[..., None, None], "sub_mean.bias": torch.zeros(3)}
    for key, tensor in network.state_dict().items():
        for ours, theirs in (
            ("conv_first", "head.0"),
            ("conv_after_body", "body.2"),
            ("conv_last", "tail.1"),
            ("upsample.", "tail.0."),
            ("conv1", "body.0"),
            ("conv2", "body.2"),
        ):
            key = key.replace(ours, theirs)
        renamed[key] = tensor
    assert "body.1.body.2.weight" in renamed and "tail.0.2.bias" in renamed
    spec, weights = checkpoint_formats.recognise(renamed)
    assert spec["num_block"] == 2 and spec["upscale"] == 4
    assert all(torch.equal(weights[k], v) for k, v in network.state_dict().items())


def test_other_weights_are_not_recognised() -> None:
    assert checkpoint_formats.recognise({"a": torch.zeros(1)}) is None

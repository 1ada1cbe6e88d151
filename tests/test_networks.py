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
        ({"type": "NearestResNet", "upscale": 4}, 292_320),
        ({"type": "SRVGGNetCompact"}, 621_424),
        ({"type": "SRVGGNetCompact", "num_feat": 16, "num_conv": 4, "upscale": 2}, 11_548),  # ECBSR-M4C16
        ({"type": "SRVGGNetCompact", "num_feat": 32, "num_conv": 4, "upscale": 2}, 41_516),  # ECBSR-M4C32
        ({"type": "SRVGGNetCompact", "num_feat": 40, "num_conv": 6, "upscale": 2}, 92_372),  # ECBSR-M6C40
    ],
)
def test_parameter_counts_are_the_published_ones(spec: dict[str, Any], parameters: int) -> None:
    assert count(networks.build(spec)) == parameters


@pytest.mark.parametrize(("kind", "depth"), [("EDSR", "block"), ("MSRResNet", "block"), ("SRVGGNetCompact", "conv")])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_networks_equal_basicsr_with_its_own_weights(kind: str, depth: str, scale: int) -> None:
    options = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, f"num_{depth}": 2, "upscale": scale}
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
        ({"type": "no.such.module:Net"}, "no module no.such.module; install it, or start with PYTHONPATH=."),
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


@pytest.mark.parametrize("colours", [1, 3])
@pytest.mark.parametrize("act_type", ["prelu", "relu"])
def test_ecbsr_is_fused_when_it_is_read(colours: int, act_type: str) -> None:
    """To the rounding of BasicSR's own fusion in float32; its training form sums the branches."""
    torch.manual_seed(0)
    sizes = {"num_in_ch": colours, "num_out_ch": colours, "num_block": 2, "num_channel": 6, "scale": 2}
    theirs = basicsr.network("ECBSR", with_idt=False, act_type=act_type, **sizes).train().double()
    spec, weights = checkpoint_formats.recognise(theirs.state_dict())
    assert (spec["type"], spec["num_conv"], spec["num_feat"], spec["upscale"]) == ("SRVGGNetCompact", 2, 6, 2)
    ours = networks.build(spec).double()
    ours.load_state_dict(weights)
    x = torch.rand(2, colours, 7, 9, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("spec", [{"type": "SRResNet"}, {"type": "NearestResNet"}, {"type": "SRVGGNetCompact"}])
@pytest.mark.parametrize("scale", [2, 3])
def test_each_network_recognises_its_own_weights_only(spec: dict[str, Any], scale: int) -> None:
    full = {**spec, "num_feat": 6, "upscale": scale}
    found = list(checkpoint_formats.recognised(networks.build(full).state_dict()))
    assert len(found) == 1 and full.items() <= found[0][0].items()
    networks.build(found[0][0]).load_state_dict(found[0][1])


def test_other_weights_are_not_recognised() -> None:
    assert checkpoint_formats.recognise({"a": torch.zeros(1)}) is None

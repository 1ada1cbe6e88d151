"""Structures for small students: published sizes, references, and forms for training and inference that are equal."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from srkd import networks
from srkd.errors import SrkdError
from srkd.inference.cost import multiply_adds, parameters
from srkd.inference.graph import fuse
from srkd.inference.loading import load_model
from srkd.inference.model import Model
from srkd.inference.prune import prune
from srkd.integrations.torchvision_compat import import_torchvision
from srkd.networks import registry
from srkd.networks.base import SRNetwork
from srkd.networks.checkpoint_formats import recognised
from srkd.networks.quantisation_aware import Int8Conv2d, imitate_int8
from srkd.networks.reparameterise import folded, widen
from srkd.networks.sides import Sides
from srkd.training.checkpoint import load_into
from support import textured

SPECS: list[dict[str, Any]] = [
    {"type": "ETDS", "num_feat": 8, "num_block": 2, "upscale": 3},
    {"type": "NearestResNet", "num_feat": 6, "num_block": 2, "upscale": 2},
    {"type": "PlainUSR", "num_feat": 16, "num_level": 2, "upscale": 2},
    {"type": "PlainUSR", "num_feat": 16, "num_level": 3, "upscale": 4},
    {"type": "SESR", "num_feat": 6, "num_block": 2, "upscale": 2},
    {"type": "SPAN", "num_feat": 6, "num_block": 2, "upscale": 3, "img_range": 2.0},
    {"type": "SRVGGNetCompact", "num_feat": 6, "num_conv": 2, "upscale": 2},
    {"type": "UnshuffleSR", "num_feat": 6, "num_block": 2, "upscale": 3},
    {"type": "UnshuffleSR", "num_feat": 6, "num_block": 1, "upscale": 2, "unshuffle": 4},
]
each = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec['type']}-{spec['upscale']}")


def stirred(network: nn.Module) -> nn.Module:
    """Every parameter is random, so that no branch and no bias is zero."""
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator).to(parameter)
    return network.double().eval()


@each
def test_the_form_for_inference_equals_the_form_for_training(spec: dict[str, Any]) -> None:
    """Branches of `train.reparameterise` folded, streams merged and the shuffle last: the same output to its border."""
    network = networks.build(spec)
    widen(network)
    stirred(network)
    plain = networks.build(spec).double()
    plain.load_state_dict(folded(network))
    x = torch.rand(2, 3, 16, 12, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(fuse(plain)(x), network(x), rtol=1e-9, atol=1e-9)
        assert network(x).shape == (2, 3, 16 * spec["upscale"], 12 * spec["upscale"])
    assert not [name for name, module in fuse(plain).named_modules() if "conv_residual" in name]


@each
def test_only_its_own_class_recognises_it(spec: dict[str, Any]) -> None:
    network = networks.build(spec)
    found = list(recognised(network.state_dict()))
    kept = {key: value for key, value in spec.items() if key != "img_range"}
    assert len(found) == 1 and kept.items() <= found[0][0].items()
    networks.build(found[0][0]).load_state_dict(found[0][1])


@each
def test_int8_is_simulated_and_any_size_is_upscaled(spec: dict[str, Any]) -> None:
    torch.manual_seed(0)
    network = networks.build(spec)
    simulated = deepcopy(network).train()
    imitate_int8(simulated)
    assert any(isinstance(module, Int8Conv2d) for module in simulated.modules())
    x = torch.rand(1, 3, 16, 12)
    assert 0 < (simulated(x) - network(x)).abs().max() < 0.3
    assert isinstance(network, SRNetwork)
    model = Model(network.eval(), spec["upscale"], sides=Sides(network.multiple, network.minimum))
    for height, width in ((5, 7), (33, 18)):
        image = textured(0, height, width)
        assert model.upscale(image).shape == (height * spec["upscale"], width * spec["upscale"], 3)


@pytest.mark.parametrize("kind", ["ETDS", "PlainUSR", "SESR", "SPAN", "SRVGGNetCompact", "UnshuffleSR"])
def test_every_size_of_a_ladder_is_built_and_larger_than_the_one_before(kind: str) -> None:
    (ladder,) = (ladder for name, ladder in registry.ladders() if name == kind)
    for line in ladder.lines(kind):
        counts = [parameters(networks.build(spec, 2)) for spec in line]
        assert counts == sorted(set(counts))


PUBLISHED = [  # spec, parameters (None: of another form), multiply-adds in G for 1280x720 at x2
    ({"type": "PlainUSR", "num_feat": 16, "num_level": 2}, 13_628, None),
    ({"type": "PlainUSR", "num_feat": 32, "num_level": 2}, 48_724, 11.2),
    ({"type": "PlainUSR", "num_feat": 32}, 57_236, None),
    ({"type": "PlainUSR", "num_feat": 48, "mid_feat": [32, 16], "attn_feat": 8}, 148_932, None),
    ({"type": "PlainUSR", "num_feat": 64, "mid_feat": [48, 32], "attn_feat": 16}, 311_364, None),
    ({"type": "PlainUSR", "num_feat": 80, "mid_feat": [64, 48], "attn_feat": 16, "num_conv": 3}, 707_076, None),
    ({"type": "SPAN", "num_feat": 52}, 481_324, None),
    ({"type": "SPAN", "num_feat": 48}, None, 94.4),
    ({"type": "SRVGGNetCompact", "num_feat": 16, "num_conv": 4}, 11_548, 2.6),
    ({"type": "SRVGGNetCompact", "num_feat": 32, "num_conv": 4}, 41_516, 9.5),
    ({"type": "UnshuffleSR", "num_feat": 32}, 91_344, 5.2),  # not published: worked out by hand
]


@pytest.mark.parametrize(("spec", "count", "giga"), PUBLISHED)
def test_sizes_are_the_published_ones(spec: dict[str, Any], count: int | None, giga: float | None) -> None:
    network = networks.build({**spec, "upscale": 2}).eval()
    assert count is None or parameters(network) == count
    assert giga is None or round(multiply_adds(network, 2) / 1e9, 1) == giga


@pytest.mark.parametrize(("num_feat", "num_block", "published"), [(16, 5, 13_944), (32, 6, 60_008), (48, 7, 152_184)])
def test_etds_has_its_published_sizes_when_fused(num_feat: int, num_block: int, published: int) -> None:
    """T, M and L of 13.9, 60.0 and 152 K, of which a 1x1 convolution that clamps the output is 156; here levels do."""
    network = networks.build({"type": "ETDS", "num_feat": num_feat, "num_block": num_block, "upscale": 2})
    assert parameters(fuse(network)) == published - 156


def test_etds_starts_by_repeating_each_pixel() -> None:
    network = networks.build({"type": "ETDS", "num_feat": 8, "num_block": 3, "upscale": 2})
    for parameter in network.conv_last.parameters():  # type: ignore[union-attr]
        nn.init.zeros_(parameter)
    x = torch.rand(1, 3, 5, 4)
    torch.testing.assert_close(network(x), x.repeat_interleave(2, 2).repeat_interleave(2, 3))


@pytest.mark.parametrize("branched", [False, True])
def test_etds_trains_as_one_stack_with_the_gradients_of_two_streams(branched: bool) -> None:
    network = networks.build({"type": "ETDS", "num_feat": 8, "num_block": 2, "upscale": 2})
    if branched:
        widen(network)
    stirred(network).train()
    x = torch.rand(2, 3, 7, 6, dtype=torch.float64)
    found: dict[bool, list[torch.Tensor]] = {}
    convolutions: list[nn.Module] = []
    for seen in (False, True):
        if seen:
            network.get_submodule("backbone_convs.1").register_forward_hook(
                lambda module, *_: convolutions.append(module)
            )
        output = network(x)
        parameters = list(network.parameters())
        found[seen] = [output, *torch.autograd.grad(output.square().mean(), parameters)]
        assert len(convolutions) == seen
    for one, two in zip(found[False], found[True], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("num_feat", "num_block", "published"), [(16, 3, 8_912), (16, 5, 13_520), (16, 11, 27_344), (32, 11, 105_376)]
)
def test_sesr_has_its_published_sizes(num_feat: int, num_block: int, published: int) -> None:
    """M3, M5, M11 and XL of 8.91, 13.52, 27.34 and 105.37 K, which count the kernels of the network for luma."""
    sizes = {"num_feat": num_feat, "num_block": num_block, "upscale": 2, "num_in_ch": 1, "num_out_ch": 1}
    network = networks.build({"type": "SESR", **sizes})
    assert sum(m.weight.numel() for m in network.modules() if isinstance(m, nn.Conv2d)) == published


def test_span_equals_spandrels() -> None:
    import_torchvision()
    architecture = pytest.importorskip("spandrel.architectures.SPAN")
    torch.manual_seed(0)
    theirs = (
        architecture.SPAN(num_in_ch=3, num_out_ch=3, feature_channels=6, upscale=2, img_range=255.0).double().eval()
    )
    x = torch.rand(2, 3, 7, 9, dtype=torch.float64)
    with torch.inference_mode():
        expected = theirs(x)  # fuses its branches
    state = {
        key.replace(".eval_conv", ""): value
        for key, value in theirs.state_dict().items()
        if ".eval_conv." in key or key.startswith(("conv_cat", "upsampler"))
    }
    ours = networks.build({"type": "SPAN", "num_feat": 6, "upscale": 2, "img_range": 255.0}).double().eval()
    ours.load_state_dict(state)
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(fuse(ours)(x), expected, rtol=1e-5, atol=1e-5)


def test_a_plain_stack_is_pruned_to_fewer_features() -> None:
    spec = {"type": "SRVGGNetCompact", "num_feat": 8, "num_conv": 3, "upscale": 2, "act_type": "prelu"}
    network = networks.build(spec).eval()
    pruned = prune(network, spec, keep=0.5)
    assert pruned.spec == {**spec, "num_feat": 4}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"type": "ETDS", "num_feat": 3}, "below num_feat"),
        ({"type": "PlainUSR", "num_level": 1}, "mid_feat must be 0 widths"),
        ({"type": "PlainUSR", "mid_feat": [8, 16]}, "from 32 down to 1"),
        ({"type": "SRVGGNetCompact", "act_type": "gelu"}, "act_type must be one of prelu"),
        ({"type": "UnshuffleSR", "num_out_ch": 1}, "must be equal"),
        ({"type": "SESR", "num_in_ch": 1}, "must be equal"),
        ({"type": "SPAN", "rgb_mean": [0.5, 0.5]}, "rgb_mean has 2 values"),
    ],
)
def test_invalid_options_are_reported(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        networks.build(spec)


def test_a_network_for_even_sides_loads_with_its_sides(tmp_path: Path) -> None:
    network = networks.build({"type": "UnshuffleSR", "num_feat": 4, "num_block": 1})
    torch.save(network.state_dict(), tmp_path / "net.pth")
    loaded = load_model(tmp_path / "net.pth")
    assert (loaded.sides, loaded.scale) == (Sides(2), 2)


@pytest.mark.parametrize("other", [name for name, _ in registry.ladders()])
def test_the_weights_of_one_structure_do_not_load_into_another(other: str) -> None:
    ladders = dict(registry.ladders())
    smallest = {kind: ladder.lines(kind)[0][0] for kind, ladder in ladders.items()}
    state = networks.build(smallest[other], 2).state_dict()
    for kind in ladders.keys() - {other}:
        with pytest.raises(SrkdError, match=r"w\.pth: not the weights of this \w+: ") as error:
            load_into(networks.build(smallest[kind], 2), state, "w.pth")
        assert "\n" not in str(error.value)

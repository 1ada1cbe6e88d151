import pytest
import torch
from torch import nn

from srkd import networks
from srkd.distill.taps import Taps, resolve
from srkd.errors import SrkdError


def tiny() -> nn.Module:
    torch.manual_seed(0)
    return networks.build({"type": "EDSR", "num_feat": 4, "num_block": 3, "upscale": 2})


def test_patterns_name_modules_in_order() -> None:
    net = tiny()
    assert resolve(net, ["body.*"]) == ["body.0", "body.1", "body.2"]
    assert resolve(net, ["body.{2,0}.conv1"]) == ["body.2.conv1", "body.0.conv1"]
    assert resolve(net, ["body.1", "body.*"]) == ["body.1", "body.0", "body.2"]


def test_an_unmatched_pattern_names_the_nearest_path() -> None:
    with pytest.raises(SrkdError, match=r'"body\.1\.conv3" matches no module.*did you mean "body\.1\.conv'):
        resolve(tiny(), ["body.1.conv3"])


def test_features_are_the_modules_output_also_before_an_in_place_activation() -> None:
    net, x = tiny(), torch.rand(2, 3, 8, 8)
    taps = Taps(net, ["body.0.conv1", "body.0"])
    first = net.conv_first((x - net.mean) * 255)
    expected = net.body[0].conv1(first)
    assert (expected < 0).any()
    for _ in range(3):  # the first pass clones every tap, later ones only those that are overwritten
        with taps:
            net(x)
        torch.testing.assert_close(taps.features["body.0.conv1"], expected)


def test_a_tap_that_is_not_overwritten_is_not_copied_and_keeps_its_graph() -> None:
    net, x = tiny(), torch.rand(1, 3, 8, 8)
    taps = Taps(net, ["body.1"])
    seen = []
    net.body[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    for _ in range(2):
        with taps:
            net(x)
    assert taps.features["body.1"] is seen[-1]
    taps.features["body.1"].sum().backward()
    assert net.conv_first.weight.grad is not None and net.conv_last.weight.grad is None


def test_hooks_are_removed_and_belong_to_one_instance() -> None:
    one, other, x = tiny(), tiny(), torch.rand(1, 3, 8, 8)
    taps = Taps(one, ["body.0"])
    with taps:
        other(x)
        assert not taps.features
        one(x)
    assert list(taps.features) == ["body.0"]
    before = taps.features["body.0"]
    one(x + 1)
    assert taps.features["body.0"] is before
    assert not one.body[0]._forward_hooks


def test_hooks_are_removed_when_the_forward_pass_fails() -> None:
    net = tiny()
    taps = Taps(net, ["body.0"])
    with pytest.raises(RuntimeError), taps:
        net(torch.rand(1, 5, 8, 8))
    assert not net.body[0]._forward_hooks


def test_works_without_gradients_and_in_inference_mode() -> None:
    net, x = tiny(), torch.rand(1, 3, 8, 8)
    taps = Taps(net, ["body.0.conv1"])
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode, taps:
            net(x)
        assert (taps.features["body.0.conv1"] < 0).any()


def test_a_non_tensor_output_raises() -> None:
    net = nn.Sequential(nn.LSTM(4, 4))
    with pytest.raises(SrkdError, match='tap "0": LSTM returns tuple, not a tensor'), Taps(net, ["0"]):
        net(torch.rand(2, 1, 4))

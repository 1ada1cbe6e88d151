from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.inference import tiling
from srkd.inference.model import Model
from srkd.inference.receptive_field import bytes_per_pixel, measure
from srkd.inference.tiling import ReceptiveField, spans, tile_side, upscale_rows, weights
from srkd.networks import build
from srkd.networks.sides import Sides

RNG = np.random.default_rng(0)


class Repeat(nn.Module):
    """Each pixel as `scale` x `scale` of it."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)


class Folded(nn.Module):
    """Works at half resolution, so that only shifts by 2 commute with it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(12, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] % 2 == x.shape[-2] % 2 == 0
        return F.pixel_shuffle(F.relu(self.conv(F.pixel_unshuffle(x, 2))), 2)


class Attentive(nn.Module):
    """A convolution scaled by the mean of the whole image, as channel attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return Repeat(2)(self.conv(x) * (0.9 + 0.2 * x.mean((2, 3), keepdim=True)))


class Windowed(nn.Module):
    """Each window of 8 x 8 less its mean: local, but not the same everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return x - F.avg_pool2d(x, 8).repeat_interleave(8, -1).repeat_interleave(8, -2)


def seeded(make: type[nn.Module] | object) -> nn.Module:
    torch.manual_seed(0)
    return make().eval()  # type: ignore[operator]


def edsr(scale: int = 2, num_block: int = 3) -> nn.Module:
    return build({"type": "EDSR", "num_feat": 8, "num_block": num_block, "upscale": scale})


def strided() -> nn.Module:
    up = nn.ConvTranspose2d(8, 3, 4, stride=4)
    return nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.PReLU(), nn.Conv2d(8, 8, 5, padding=2), up)


NETWORKS = {
    "pixelwise": (lambda: Repeat(3), 3, 1, ReceptiveField(0, 1)),
    "edsr x2": (edsr, 2, 1, ReceptiveField(1 + 6 + 1 + 1 + 1, 1)),
    "edsr x4": (lambda: edsr(4), 4, 1, ReceptiveField(10, 1)),
    "uneven kernel": (lambda: nn.Conv2d(3, 3, (3, 7), padding=(1, 3)), 1, 1, ReceptiveField(3, 1)),
    "dilated": (lambda: nn.Conv2d(3, 3, 3, padding=40, dilation=40), 1, 1, ReceptiveField(40, 1)),
    "folded": (Folded, 1, 2, ReceptiveField(3, 2)),
    "strided": (strided, 2, 2, ReceptiveField(6, 2)),
}


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_field_is_measured(name: str) -> None:
    make, scale, multiple, expected = NETWORKS[name]
    assert Model(seeded(make), scale, sides=Sides(multiple)).receptive_field == expected


@pytest.mark.parametrize(("make", "multiple"), [(Attentive, 1), (Windowed, 8)])
def test_what_is_not_local_or_not_uniform_is_not_called_exact(make: type[nn.Module], multiple: int) -> None:
    scale = 2 if make is Attentive else 1
    field = Model(seeded(make), scale, sides=Sides(multiple)).receptive_field
    assert field == ReceptiveField(None) or (make is Windowed and field == ReceptiveField(7, 8))
    assert field.exact == (make is Windowed)


@pytest.mark.parametrize("tile", [16, 23, 50])
@pytest.mark.parametrize("name", list(NETWORKS))
def test_tiled_equals_whole(name: str, tile: int) -> None:
    make, scale, multiple, _ = NETWORKS[name]
    model = Model(seeded(make), scale, sides=Sides(multiple))
    for shape in ((61, 54, 3), (64, 31, 3)):
        image = RNG.integers(0, 256, shape, dtype=np.uint8)
        np.testing.assert_array_equal(model.upscale(image, tile=tile), model.upscale(image, tile=0))
        floats = image.astype(np.float32) / 255
        np.testing.assert_allclose(model.upscale(floats, tile=tile), model.upscale(floats, tile=0), atol=1e-6)


@pytest.mark.parametrize("name", ["edsr x2", "folded", "strided"])
def test_tiled_equals_whole_with_self_ensemble(name: str) -> None:
    make, scale, multiple, _ = NETWORKS[name]
    model = Model(seeded(make), scale, sides=Sides(multiple))
    image = RNG.integers(0, 65536, (45, 38, 3), dtype=np.uint16)
    tiled, whole = (model.upscale(image, tile=tile, self_ensemble=True).astype(int) for tile in (16, 0))
    assert np.abs(tiled - whole).max() <= 1  # of 65535
    assert (model.upscale(image, tile=0) != whole).any()


def test_fields_too_wide_are_blended_without_dark_edges_or_seams() -> None:
    model = Model(seeded(Attentive), 2)
    image = np.full((150, 170, 3), 0.5, np.float32)
    whole, tiled = (model.upscale(image, tile=tile) for tile in (0, 40))
    assert 0 < np.abs(tiled - whole).max() < 0.01  # of what each tile's own zero padding does, the ramps leave little
    assert np.abs(tiled - whole)[[0, -1]].max() < 0.01
    assert np.abs(np.diff(tiled[20:-20, 20:-20], axis=1)).max() < 0.005


@pytest.mark.parametrize("field", [ReceptiveField(None), ReceptiveField(7, 1), ReceptiveField(6, 4)])
@pytest.mark.parametrize(("length", "tile"), [(1, 5), (16, 16), (100, 33), (97, 8), (130, 64)])
def test_spans_cover_a_side_once(field: ReceptiveField, length: int, tile: int) -> None:
    cut = spans(length, max(tile, field.align), field)
    assert [s.start for s in cut] == [0, *[s.stop for s in cut[:-1]]]
    assert cut[-1].stop == cut[-1].high == length
    assert all(s.start % field.align == s.low % field.align == (length - s.high) % field.align == 0 for s in cut)
    halo = field.halo or 0
    assert all(s.low <= max(0, s.start - halo) and s.high >= min(length, s.stop + halo) for s in cut)


@pytest.mark.parametrize(("length", "tile"), [(16, 16), (100, 33), (97, 8), (130, 64), (65, 64)])
def test_blending_weights_sum_to_one_and_are_never_zero(length: int, tile: int) -> None:
    cut = spans(length, tile, ReceptiveField(None))
    total = np.zeros(3 * length)
    for i, span in enumerate(cut):
        weight = weights(cut, i, 3)
        assert weight.min() > 0
        total[3 * span.low : 3 * span.high] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)


def test_rows_come_in_blocks_from_the_top() -> None:
    image = RNG.random((50, 20, 3), np.float32)
    blocks = list(upscale_rows(image, lambda part: part, 1, ReceptiveField(4), 15))
    assert [len(b) for b in blocks] == [13, 13, 13, 11]
    np.testing.assert_array_equal(np.concatenate(blocks), image)


def test_a_row_of_tiles_of_a_wide_image_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiling, "_STRIP", 40 * 100 * 3)
    monkeypatch.setattr(tiling, "_BLOCK", 7 * 100 * 3)
    seen: list[tuple[int, ...]] = []

    def network(part: np.ndarray) -> np.ndarray:
        seen.append(part.shape)
        return part

    image = RNG.integers(0, 256, (90, 100, 3), np.uint8)
    blocks = list(upscale_rows(image, network, 1, ReceptiveField(2), 60))
    assert max(shape[0] for shape in seen) <= 40 + 4 and max(shape[1] for shape in seen) == 50 + 2
    assert max(len(block) for block in blocks) == 7
    np.testing.assert_array_equal(np.concatenate(blocks), image)
    seen.clear()
    (whole, *_) = upscale_rows(image, network, 1, ReceptiveField(2), 100)
    assert seen == [(90, 100, 3)] and len(whole) == 7


def test_memory_decides_the_tile() -> None:
    small, large = ReceptiveField(10), ReceptiveField(60)
    assert tile_side(small, 1000) > tile_side(small, 10_000) > tile_side(large, 10_000) >= 120
    network = edsr()
    per_pixel = bytes_per_pixel(network)
    # The last convolution reads 8 channels and writes 3, at twice the size: the largest step of this network.
    assert 4 * 4 * 8 * 2 <= per_pixel <= 4 * 4 * 8 * 6
    model = Model(network.eval(), 2)
    assert model.tile_side(100, 100) == 100
    assert model.tile_side(20_000, 20_000) < 4000
    assert model.tile_side(100, 300, 0) == 300
    with pytest.raises(SrkdError, match="tile must be 0"):
        model.tile_side(100, 100, -1)


def test_a_nan_that_the_network_swallows_is_not_taken_for_a_small_field() -> None:
    assert measure(lambda x: torch.zeros_like(x), 1) == ReceptiveField(None)

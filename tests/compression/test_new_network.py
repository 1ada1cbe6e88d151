"""A network that is one file, this one: what it declares is used by fusing, pruning, int8, compress and loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import srkd
from srkd import networks
from srkd.compression import candidates, flow
from srkd.compression.request import Request, Settings
from srkd.inference.graph import fuse, graph_of, layers
from srkd.inference.loading import load_model
from srkd.inference.model import Model
from srkd.inference.prune import prune
from srkd.networks import registry
from srkd.networks.base import Ladder, Recognised, SRNetwork, State, last_number
from srkd.networks.quantisation_aware import Int8Conv2d, imitate_int8
from srkd.networks.tail import convolution
from srkd.training.checkpoint import save_weights


class Branched(nn.Module):
    """x + 1x1 convolution + 3x3 convolution, after which ReLU; one 3x3 convolution when fused."""

    def __init__(self, num_feat: int) -> None:
        super().__init__()
        self.three, self.one = nn.Conv2d(num_feat, num_feat, 3, 1, 1), nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.three(x) + self.one(x))

    def fused(self) -> nn.Module:
        weight = self.three.weight + F.pad(self.one.weight, (1, 1, 1, 1))
        weight = weight + F.pad(torch.eye(len(weight)).to(weight)[..., None, None], (1, 1, 1, 1))
        assert self.three.bias is not None and self.one.bias is not None
        return nn.Sequential(convolution((weight, self.three.bias + self.one.bias)), nn.ReLU())


class Toy(SRNetwork):
    ladder = Ladder("Toy", width="wide", widths=(3, 5), depth="deep", depths=(1, 2))
    trunk = "blocks"

    def __init__(self, scale: int = 2, wide: int = 8, deep: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, wide, 3, 1, 1)
        self.blocks = nn.Sequential(*(Branched(wide) for _ in range(deep)))
        self.end = nn.Conv2d(wide, 3 * scale**2, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.end(self.blocks(self.head(x))), self.scale)

    @classmethod
    def recognise(cls, state: State) -> Recognised | None:
        if "blocks.0.three.weight" not in state:
            return None
        deep, end = 1 + last_number(r"blocks\.(\d+)\.", state), state["end.weight"]
        return {"scale": int((len(end) // 3) ** 0.5), "wide": end.shape[1], "deep": deep}, dict(state)

    def simulate_int8(self) -> None:
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Branched)
            self.blocks[number] = block.fused()


SPEC = {"type": "Toy", "wide": 8, "deep": 3, "scale": 2}


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    known = {name: registry.registered(name) for name in registry.names()}
    monkeypatch.setattr(registry._NETWORKS, "_classes", known)
    registry.register("Toy")(Toy)
    yield


def toy() -> nn.Module:
    torch.manual_seed(0)
    return networks.build(SPEC).eval()


def test_it_is_fused() -> None:
    network = toy().double()
    x = torch.rand(2, 3, 7, 9, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(fuse(network)(x), network(x), rtol=0, atol=1e-12)
    assert len(layers(graph_of(network))) == 5 < len(layers(network))


def test_it_is_recognised_from_a_bare_checkpoint(tmp_path: Path) -> None:
    network = toy()
    torch.save(network.state_dict(), tmp_path / "bare.pth")
    loaded = load_model(tmp_path / "bare.pth")
    assert loaded.scale == 2 and loaded.meta["network"] == SPEC
    x = torch.rand(1, 3, 6, 5)
    assert torch.equal(loaded.network(x), network(x))


def test_it_is_pruned_and_the_result_described_by_its_options(tmp_path: Path) -> None:
    network = toy()
    for parameter in network.blocks[1].parameters():  # type: ignore[index, union-attr]
        parameter.data *= 0.1
    pruned = prune(network, SPEC, blocks=2 / 3, features=0.5)
    assert pruned.blocks == [0, 2] and pruned.spec == {**SPEC, "wide": 4, "deep": 2}
    save_weights(tmp_path / "narrow.safetensors", pruned.network.state_dict(), {"network": pruned.spec, "scale": 2})
    x = torch.rand(1, 3, 6, 5)
    model = srkd.load(str(tmp_path / "narrow.safetensors"))
    torch.testing.assert_close(model.network(x), pruned.network(x))


def test_int8_is_simulated_as_it_declares() -> None:
    network = toy().train()
    imitate_int8(network)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 5 and all(type(each) is Int8Conv2d for each in convolutions)
    x = torch.rand(1, 3, 6, 5)
    difference = (network(x) - toy()(x)).abs().max()
    assert 0 < difference < 0.05


def test_compress_offers_its_sizes(tmp_path: Path) -> None:
    own = [line for line in candidates.lines(Model(nn.Identity(), 2, "-"), tmp_path) if line[0].family == "Toy"]
    assert [candidate.label for line in own for candidate in line] == ["Toy 3x1", "Toy 5x1", "Toy 3x2", "Toy 5x2"]


def test_compress_climbs_its_ladder(
    monkeypatch: pytest.MonkeyPatch, small: Settings, ask: Callable[..., Request], tmp_path: Path
) -> None:
    monkeypatch.setattr(registry, "ladders", lambda: [("Toy", Toy.ladder)])
    monkeypatch.setattr(candidates, "_PRUNED", ((), ()))
    done = flow.compress(ask(control=False), tmp_path / "out", small)
    assert done.results["student"].startswith("Toy 5x")
    spec: dict[str, Any] = load_model(tmp_path / "out" / "student.safetensors").meta["network"]
    assert (spec["type"], spec["wide"], spec["scale"]) == ("Toy", 5, 2)

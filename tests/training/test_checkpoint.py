import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from srkd.errors import SrkdError
from srkd.training import checkpoint
from srkd.training.ema import Ema


def test_weights_and_description_round_trip(tmp_path: Path) -> None:
    state = nn.Conv2d(2, 3, 3).to(memory_format=torch.channels_last).state_dict()
    checkpoint.save_weights(tmp_path / "w.safetensors", state, {"scale": 2, "network": {"type": "X"}})
    back, meta = checkpoint.load_weights(tmp_path / "w.safetensors")
    assert meta == {"scale": 2, "network": {"type": "X"}}
    assert all(torch.equal(back[key], state[key]) for key in state)
    assert list(back) == sorted(state)


def test_a_part_of_a_network_may_be_called_module(tmp_path: Path) -> None:
    network = nn.Sequential(OrderedDict(module=nn.Conv2d(2, 2, 1)))
    checkpoint.save_weights(tmp_path / "w.safetensors", network.state_dict(), {"network": {"type": "mine:Net"}})
    weights, _ = checkpoint.load_weights(tmp_path / "w.safetensors")
    assert weights.keys() == network.state_dict().keys()
    assert checkpoint.load_into(network, weights, "w") is None


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "_orig_mod.module."])
def test_weights_of_a_wrapped_network_load_with_a_description_too(tmp_path: Path, prefix: str) -> None:
    network = nn.Sequential(nn.Conv2d(2, 2, 1))
    state = {f"{prefix}{key}": value for key, value in network.state_dict().items()}
    checkpoint.save_weights(tmp_path / "w.safetensors", state, {"network": {"type": "mine:Net"}})
    assert checkpoint.load_into(network, checkpoint.load_weights(tmp_path / "w.safetensors")[0], "w") is None


def test_weights_have_default_file_permissions(tmp_path: Path) -> None:
    checkpoint.save_weights(tmp_path / "w.safetensors", nn.Linear(1, 1).state_dict(), {})
    (tmp_path / "any").touch()
    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode


@pytest.mark.parametrize("wrap", ["params", "params_ema", "state_dict", None])
def test_torch_files_of_other_tools_load(tmp_path: Path, wrap: str | None) -> None:
    state = nn.Linear(2, 2).state_dict()
    torch.save({wrap: state} if wrap else {f"module.{k}": v for k, v in state.items()}, tmp_path / "w.pth")
    back, meta = checkpoint.load_weights(tmp_path / "w.pth")
    assert list(back) == ["weight", "bias"] and meta == {}


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    torch.save({"params": {"w": torch.zeros(1)}, "params_ema": {"w": torch.ones(1)}}, tmp_path / "w.pth")
    assert checkpoint.load_weights(tmp_path / "w.pth")[0]["w"].item() == 1


class _Canary:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_with_code_raises_and_is_not_run(tmp_path: Path, legacy: bool) -> None:
    bomb, executed = tmp_path / "bomb.pth", tmp_path / "executed"
    if legacy:
        bomb.write_bytes(pickle.dumps(_Canary(str(executed))))
    else:
        torch.save({"params": _Canary(str(executed))}, bomb)
    for read in (checkpoint.load_weights, checkpoint.load_state):
        with pytest.raises(SrkdError, match="was not run"):
            read(bomb)
    assert not executed.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("kept", [0, 7, 100, -20])
def test_a_truncated_file_raises(tmp_path: Path, suffix: str, kept: int) -> None:
    path = tmp_path / f"w{suffix}"
    if suffix == ".pth":
        torch.save({"params": {"w": torch.zeros(1000)}}, path)
    else:
        checkpoint.save_weights(path, {"w": torch.zeros(1000)}, {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(SrkdError, match=f"w{suffix}"):
        checkpoint.load_weights(path)


@pytest.mark.parametrize("content", [[1, 2], {"params": {"w": "text"}}, {"epoch": 3}, {}])
def test_a_file_without_weights_raises(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(SrkdError, match="no table of weights"):
        checkpoint.load_weights(tmp_path / "w.pth")


def test_weights_of_another_network_raise_with_the_differences() -> None:
    with pytest.raises(SrkdError, match=r"missing bias; unexpected b; weight is \(2, 3\), the network's \(2, 2\)"):
        checkpoint.load_into(nn.Linear(2, 2), {"weight": torch.zeros(2, 3), "b": torch.zeros(1)}, "file")
    network = nn.Linear(2, 2)
    skipped = checkpoint.load_into(network, {"weight": torch.ones(2, 2), "b": torch.zeros(1)}, "file", strict=False)
    assert network.weight.sum() == 4
    assert skipped == "file: loaded 1 of 2 weights; missing bias; unexpected b"
    assert checkpoint.load_into(network, network.state_dict(), "file") is None


def test_weights_of_another_shape_are_skipped_if_not_strict() -> None:
    network = nn.Linear(2, 2)
    before = network.weight.detach().clone()
    state = {"weight": torch.ones(3, 2), "bias": torch.ones(2)}
    skipped = checkpoint.load_into(network, state, "file", strict=False)
    assert skipped == "file: loaded 1 of 2 weights; of another shape or type weight"
    assert torch.equal(network.weight, before) and network.bias.sum() == 2
    with pytest.raises(SrkdError, match=r"not the weights of this Linear: missing bias; .*\(3, 2\)"):
        checkpoint.load_into(network, {"weight": torch.ones(3, 2)}, "file", strict=False)


def test_the_average_follows_the_formula_and_swaps_back() -> None:
    network = nn.Sequential(nn.Linear(1, 1, bias=False), nn.BatchNorm1d(1))
    ema = Ema({"g": network}, 0.9)
    expected = network[0].weight.item()
    for step, value in ((200, 1.0), (201, -2.0), (202, 3.0)):
        nn.init.constant_(network[0].weight, value)
        network[1].num_batches_tracked += 1
        ema.update(step)
        expected = 0.9 * expected + 0.1 * value
    with ema.swapped():
        assert network[0].weight.item() == pytest.approx(expected, abs=1e-6)  # the steps cancel for some random starts
        assert network[1].num_batches_tracked == 3
    assert network[0].weight.item() == 3.0


def test_the_average_of_a_short_run_forgets_the_initial_weights() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1000.0)
    ema = Ema({"g": network}, 0.999)
    nn.init.constant_(network.weight, 1.0)
    for step in range(100):
        ema.update(step)
    with ema.swapped():
        assert network.weight.item() == pytest.approx(1.0, abs=1e-3)


def test_without_decay_there_is_no_average() -> None:
    network = nn.Linear(1, 1)
    ema = Ema({"g": network}, 0)
    ema.update(0)
    with ema.swapped():
        assert ema.state_dict() == {}

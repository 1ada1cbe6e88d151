"""Untrusted checkpoints: limits on imports and allocations."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from srkd import networks, trust
from srkd.errors import SrkdError
from srkd.inference.loading import load_model
from srkd.networks import zoo
from srkd.safe_load import _contains, building, check_spec
from srkd.training.checkpoint import load_into, load_weights, save_weights

TINY = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint with a class outside srkd that no recipe of this process has named."""
    monkeypatch.setattr(trust, "_named", set())
    (tmp_path / "own_network.py").write_text(
        "from torch import nn, ones\nclass Net(nn.Module):\n"
        "    def __init__(self, upscale):\n        super().__init__()\n"
        "        self.up, self.gain = nn.Upsample(scale_factor=upscale), nn.Parameter(ones(1))\n"
        "    def forward(self, x):\n        return self.up(x) * self.gain\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    spec = {"type": "own_network:Net", "upscale": 2}
    save_weights(tmp_path / "own.safetensors", {"gain": torch.ones(1)}, {"network": spec, "scale": 2})
    return tmp_path / "own.safetensors"


def test_a_class_outside_srkd_needs_trust(own: Path) -> None:
    import sys

    with pytest.raises(SrkdError, match="--trust-code"):
        load_model(own)
    assert "own_network" not in sys.modules
    with trust.trusting():
        assert load_model(own).scale == 2
    with pytest.raises(SrkdError, match="--trust-code"):
        load_model(own)


def test_a_class_named_by_a_recipe_is_trusted(own: Path) -> None:
    networks.build({"type": "own_network:Net"}, 2)
    assert load_model(own).scale == 2


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "VGGFeatureExtractor", "layer_name_list": ["conv1_1"]},
        {"type": "SpyNet", "load_path": "x.pth"},
        {"type": "DFDNet"},
        {"type": "EDVR"},
        {**TINY, "num_feat": "/etc/passwd"},
        {**TINY, "img_range": "http://x"},
        {**TINY, "num_block": 10**9},
        {**TINY, "num_block": 10**400},
        {**TINY, "num_feat": "\ud800"},
        {**TINY, "\ud800": 1},
        {**TINY, "img_range": float("inf")},
        {**TINY, "rgb_mean": [0.1] * 2000},
    ],
)
def test_invalid_network_descriptions_are_rejected(spec: dict[str, Any], tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", {"w": torch.zeros(1)}, {"network": spec, "scale": 2})
    with pytest.raises(SrkdError, match=r"w\.safetensors") as error:
        load_model(tmp_path / "w.safetensors")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "spec",
    [
        {**TINY, "num_feat": 8000},
        {**TINY, "num_block": 90_000},
        {"type": "SwinIR", "img_size": 40_000, "upscale": 2},
        {"type": "SwinIR", "window_size": 8000, "upscale": 2},
    ],
)
def test_a_network_far_larger_than_its_weights_is_not_built(spec: dict[str, Any], tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", networks.build(TINY).state_dict(), {"network": spec, "scale": 2})
    with pytest.raises(SrkdError, match="far larger than its weights"):
        load_model(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    "spec",
    [
        TINY,
        {
            "type": "SwinIR",
            "upscale": 2,
            "img_size": 16,
            "embed_dim": 12,
            "depths": [1],
            "num_heads": [2],
            "window_size": 8,
            "upsampler": "pixelshuffledirect",
        },
    ],
)
def test_a_network_of_its_weights_size_is_built(spec: dict[str, Any], tmp_path: Path) -> None:
    made = networks.build(spec).eval()
    save_weights(tmp_path / "w.safetensors", made.state_dict(), {"network": spec, "scale": 2})
    x = torch.rand(1, 3, 16, 16)
    assert torch.equal(load_model(tmp_path / "w.safetensors").network(x), made(x))


def test_building_leaves_no_hook_behind() -> None:
    with pytest.raises(SrkdError, match="far larger"), building({"w": torch.zeros(1)}, "here"):
        nn.Linear(60_000, 60_000)
    nn.Sequential(*(nn.Linear(1, 1) for _ in range(5000)))


def test_options_of_networks_pass() -> None:
    check_spec(
        {
            "type": "SwinIR",
            "depths": [6, 6],
            "mlp_ratio": 2.0,
            "upsampler": "pixelshuffledirect",
            "resi_connection": "1conv",
            "ape": False,
            "norm": None,
        },
        "here",
    )


def _view() -> dict[str, Any]:
    return {"body.0.weight": torch.zeros(1).expand(60_000, 60_000)}


def _numbered() -> dict[str, Any]:
    return {f"body.{10**8 - 1}.rdb1.conv1.weight": torch.zeros(1), "conv_first.weight": torch.zeros(4, 3, 3, 3)}


def _many_views() -> dict[str, Any]:
    one = torch.zeros(1_000_000)
    return {f"w{number}": one for number in range(100)}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (_view, "larger than its storage"),
        (_numbered, "index over 100,000"),
        (_many_views, "far more than the file;"),
        (lambda: {"w": torch.zeros(3, dtype=torch.complex64)}, "not a dense real tensor"),
        (lambda: {"w": torch.zeros(3).to_sparse()}, "not a dense real tensor"),
        (lambda: {"w": torch.tensor([1.0, float("nan")])}, "NaN, infinity"),
        (lambda: {"w": torch.tensor([1.0, float("inf")]).half()}, "NaN, infinity"),
        (lambda: {"w": torch.tensor([1e300], dtype=torch.float64)}, "beyond float32"),
    ],
)
def test_invalid_weights_are_rejected(state: Any, message: str, tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pth")
    with pytest.raises(SrkdError, match=message):
        load_weights(tmp_path / "w.pth")


def test_a_compression_bomb_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w/data.pkl", bytes(80 << 20))
    with pytest.raises(SrkdError, match="would decompress to 83,886,080"):
        load_weights(tmp_path / "w.pth")


class _Bytes:
    """Pickled as a call of bytearray(10): a file of any number would allocate that many bytes."""

    def __reduce__(self) -> tuple[Any, ...]:
        return bytearray, (10,)


@pytest.mark.parametrize("archive", [True, False])
def test_a_bytearray_is_not_read(archive: bool, tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"params": _Bytes(), "w": torch.ones(3)}, path, _use_new_zipfile_serialization=archive)
    with pytest.raises(SrkdError, match="contains a bytearray, which no weights need; not read"):
        load_weights(path)
    torch.save({"params": {"a.weight": torch.ones(3)}}, path, _use_new_zipfile_serialization=archive)
    assert load_weights(path)[0].keys() == {"a.weight"}


@pytest.mark.parametrize("at", [0, 2**20 - 4, 2**20, 3 * 2**20 - 9])
def test_a_word_is_found_across_blocks(at: int) -> None:
    assert _contains(io.BytesIO(bytes(at) + b"bytearray" + bytes(99)), b"bytearray")
    assert not _contains(io.BytesIO(bytes(at) + b"bytearra"), b"bytearray")


def test_a_key_that_asks_spandrel_for_many_blocks(tmp_path: Path) -> None:
    pytest.importorskip("spandrel")
    spec = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "scale": 4}
    state = networks.build(spec).state_dict()
    state["body.90000.rdb1.conv1.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(SrkdError, match="far larger than its weights"):
        load_model(tmp_path / "w.pth")


def test_weights_whose_output_overflows(tmp_path: Path) -> None:
    state = {key: value * 1e30 for key, value in networks.build(TINY).state_dict().items()}
    save_weights(tmp_path / "w.safetensors", state, {"network": TINY, "scale": 2})
    with pytest.raises(SrkdError, match="weights are too large"):
        load_model(tmp_path / "w.safetensors")


def test_the_scale_is_the_networks(tmp_path: Path) -> None:
    save_weights(tmp_path / "w.safetensors", networks.build(TINY).state_dict(), {"network": TINY, "scale": 3})
    with pytest.raises(SrkdError, match="described as a network for x3, but upscales 16x16 to 32x32 pixels"):
        load_model(tmp_path / "w.safetensors")


def test_integers_are_not_accepted_as_weights() -> None:
    network = networks.build(TINY)
    state = {key: value.long() for key, value in network.state_dict().items()}
    with pytest.raises(SrkdError, match=r"is torch\.int64, the network's torch\.float32"):
        load_into(network, state, "here")


def test_a_file_does_not_replace_a_zoo_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = zoo.trained()[0]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"something else")
    assert load_model(name).name == name
    with pytest.raises(SrkdError, match="not a checkpoint"):
        load_model(f"./{name}")
    save_weights(Path("plain"), networks.build(TINY).state_dict(), {"network": TINY, "scale": 2})
    with pytest.raises(SrkdError, match="unknown zoo model"):
        load_model("plain")

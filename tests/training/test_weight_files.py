from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from srkd.errors import SrkdError
from srkd.training import torchscript
from srkd.training.checkpoint import load_into, load_weights
from srkd.training.weight_files import _TABLES, candidates, table_of, without_counters


class Net(nn.Module):
    """Parameters, buffers, a list of modules, and a buffer that is not part of the state."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.body = nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3, bias=False))
        self.register_buffer("mean", torch.zeros(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.first(x - self.mean[None, :, None, None]))


def weights() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return Net().state_dict()


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    **{
        key: lambda state, key=key: {key: state}
        for key in ("net", "params-ema", "params_ema", "params", "state_dict", "model", "any_single_key", "generator")
    },
    "nested": lambda state: {"checkpoint": {"state_dict": {"params": state}}},
    "with optimiser state": lambda state: {
        "epoch": 3,
        "lr": torch.tensor(0.1),
        "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}},
        "weights": state,
    },
    "with a discriminator": lambda state: {"netD": {"a.weight": torch.zeros(2, 2)}, "netG": state},
    "averaged before plain": lambda state: {
        "params": {key: value + 1 for key, value in state.items()},
        "params_ema": state,
    },
    "data parallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "compiled": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "compiled inside": lambda state: {key.replace("body.", "body._orig_mod."): value for key, value in state.items()},
    "both": lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()},
    "Lightning": lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}, "epoch": 1},
    "Lightning with a loss": lambda state: {
        "state_dict": {**{f"model.{key}": value for key, value in state.items()}, "loss.vgg.weight": torch.zeros(2, 2)}
    },
    "Lightning, compiled": lambda state: {"state_dict": {f"net_g._orig_mod.{k}": v for k, v in state.items()}},
    "an average's counter": lambda state: {
        **{f"module.{key}": value for key, value in state.items()},
        "n_averaged": torch.tensor(5),
    },
    "a step as a tensor": lambda state: {**state, "step": torch.tensor(7)},
    "a step as a number": lambda state: {**state, "step": 7, "name": "net"},
    "another count": lambda state: {**state, "first.num_batches_tracked": torch.tensor(7)},
    "without batch norm's count": lambda state: {k: v for k, v in state.items() if "num_batches" not in k},
}


@pytest.mark.parametrize("kind", list(WRAPPED))
@pytest.mark.parametrize("suffix", [".pth", ".PTH", ".ckpt", ".safetensors", ".SafeTensors"])
def test_weights_are_found_under_any_key_and_suffix(tmp_path: Path, kind: str, suffix: str) -> None:
    state = WRAPPED[kind](weights())
    path = tmp_path / f"net{suffix}"
    if "safe" in suffix.lower():
        if not all(isinstance(value, Tensor) for value in state.values()):
            pytest.skip("safetensors are one flat table")
        save_file(state, path)
    else:
        torch.save(state, path)
    network = Net()
    assert load_into(network, load_weights(path)[0], "f") is None
    assert all(torch.equal(value, weights()[key]) for key, value in network.state_dict().items() if value.dim())


@pytest.mark.parametrize("export", [torch.jit.script, lambda net: torch.jit.trace(net, torch.rand(1, 3, 8, 8))])
@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript_is_read_without_running_it(tmp_path: Path, export: Callable[[nn.Module], Any]) -> None:
    network = Net().eval().half()
    with torch.no_grad():
        script = torch.jit.script(network) if export is torch.jit.script else export(network.float())
    script.save(str(tmp_path / "net.pt"))
    state, meta = load_weights(tmp_path / "net.pt")
    assert meta == {"torchscript": True}
    assert set(state) == {*network.state_dict(), "mean"}
    assert all(torch.equal(state[key], value) for key, value in network.state_dict().items())


def archive(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as zipped:
        zipped.writestr("a/data.pkl", pickled)
        zipped.writestr("a/constants.pkl", b"")
        zipped.writestr("a/data/0", bytes(8))
    return path


class Calls:
    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it was run')",)


def tensor(size: tuple[int, ...]) -> bytes:
    """The pickle of a module whose one tensor, of this size, is two floats in the archive."""
    dims = b"".join(b"J" + value.to_bytes(4, "little") for value in size)
    strides = b"J\0\0\0\0" * len(size)
    storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x02tQ"
    rebuilt = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"K\0(" + dims + b"t(" + strides + b"t\x89}tR"
    return b"\x80\x02c__torch__\nNet\n)\x81}(X\x06\0\0\0weight" + rebuilt + b"ub."


def test_torchscript_with_more_than_weights_raises(tmp_path: Path) -> None:
    assert load_weights(archive(tmp_path / "two.pt", tensor((2,))))[0]["weight"].tolist() == [0, 0]
    for name, pickled, compression in (
        ("code.pt", pickle.dumps(Calls()), zipfile.ZIP_STORED),
        ("vast.pt", tensor((1 << 20, 1 << 20)), zipfile.ZIP_STORED),
        ("packed.pt", tensor((2,)), zipfile.ZIP_DEFLATED),
        ("none.pt", b"\x80\x02c__torch__\nNet\n)\x81}b.", zipfile.ZIP_STORED),
    ):
        with pytest.raises(SrkdError, match=f"{name}: a TorchScript file that") as caught:
            load_weights(archive(tmp_path / name, pickled, compression))
        assert "\n" not in str(caught.value)


def test_a_torchscript_that_asks_for_memory_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remembered = b"\x80\x02]r" + (1 << 20).to_bytes(4, "little") + b"."
    filled = b"\x80\x05\x96" + (1 << 20).to_bytes(8, "little") + bytes(1 << 20) + b"."
    for name, pickled in (("index.pt", remembered), ("bytes.pt", filled)):
        with pytest.raises(SrkdError, match=f"{name}: a TorchScript file that is damaged.*its pickle has"):
            load_weights(archive(tmp_path / name, pickled))
    # A module with one attribute, to which another refers many times.
    names = [b"X\x02\0\0\0" + f"{number:02}".encode() for number in range(50)]
    shared = b"c__torch__\nNet\n)\x81q\1}X\1\0\0\0aK\1sb"
    module = b"\x80\x02c__torch__\nNet\n)\x81}(" + names[0] + shared + b"".join(n + b"h\1" for n in names[1:]) + b"ub."
    monkeypatch.setattr(torchscript, "_MAX_NAMES", 60 * 64)
    with pytest.raises(SrkdError, match="more attributes than a network has"):
        load_weights(archive(tmp_path / "shared.pt", module))


class Counted(dict[str, Any]):
    """A mapping that may be searched a few times only."""

    left = 200

    def items(self) -> Any:
        self.left -= 1
        assert self.left > 0, "searched again and again"
        return super().items()


def test_mappings_that_are_referred_to_often_are_searched_once() -> None:
    nested: dict[str, Any] = Counted()
    for _ in range(8):
        nested = Counted({name: nested for name in (*_TABLES, "a", "b")})
    with pytest.raises(SrkdError, match="contains no table of weights"):
        table_of(nested, Path("nested.pth"))
    nested["itself"] = nested
    with pytest.raises(SrkdError, match="contains no table of weights"):
        table_of(nested, Path("nested.pth"))


PAGE = b"\n <!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".pt"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (PAGE, "not a checkpoint but an HTML page"),
        (b"\xef\xbb\xbf<HTML>", "an HTML page"),
        (POINTER, "a git-LFS pointer: run `git lfs pull`"),
        (b"", "an empty file"),
        (b"404: Not Found", 'text that starts with "404: Not Found"'),
        (b'{"message": "API rate limit exceeded"}', "text that starts with"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
        (b"\x1c\0\0\0TFL3" + bytes(100), "a LiteRT (TensorFlow Lite) model"),
        (b"\x1f\x8b\x08" + bytes(100), "a gzip archive: unpack it first"),
    ],
)
def test_other_files_raise_with_the_name_of_their_format(
    tmp_path: Path, suffix: str, content: bytes, message: str
) -> None:
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(SrkdError) as caught:
        load_weights(path)
    assert str(caught.value).startswith(f"{path}: not a checkpoint but") and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_archives_and_folders_raise(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "net.pth", "w") as zipped:
        zipped.writestr("net/weights.bin", b"")
    with pytest.raises(SrkdError, match="not a checkpoint but a zip archive: unpack it first"):
        load_weights(tmp_path / "net.pth")
    with pytest.raises(SrkdError, match="a folder, not a checkpoint"):
        load_weights(tmp_path)


def test_formats_are_detected_by_content(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "safe.pth")
    torch.save(weights(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("safe.pth", "old.pt"):
        assert torch.equal(load_weights(tmp_path / name)[0]["first.weight"], weights()["first.weight"])


def test_a_table_is_selected_by_key(tmp_path: Path) -> None:
    tables = {"params": {"a": torch.zeros(1)}, "params_ema": {"a": torch.ones(1)}, "epoch": 3}
    torch.save(tables, tmp_path / "net.pth")
    for key, value in (("params", 0), ("params_ema", 1), (None, 1), ("params-ema", 0)):  # absent: `params`, as BasicSR
        assert load_weights(tmp_path / "net.pth", key)[0]["a"] == value
    torch.save({"a.weight": torch.zeros(1)}, tmp_path / "flat.pth")
    with pytest.raises(
        SrkdError, match=r'flat.pth: contains no table "params_ema" \(param_key\); the weights are at the top'
    ):
        load_weights(tmp_path / "flat.pth", "params_ema")
    torch.save({"one": {"a": torch.zeros(2)}, "two": {"a": torch.zeros(2)}}, tmp_path / "two.pth")
    with pytest.raises(SrkdError, match=r"contains several tables of weights \(one, two\)"):
        load_weights(tmp_path / "two.pth")


def test_names_are_tried_with_their_prefix_first() -> None:
    state = {"model.0.weight": torch.zeros(2), "model.1.weight": torch.zeros(2)}  # ESRGAN's old names
    assert [sorted(found) for found in candidates(state)] == [
        ["model.0.weight", "model.1.weight"],
        ["0.weight", "1.weight"],
    ]


def test_batch_norm_counters_are_kept() -> None:
    norm = {"n.running_mean": torch.zeros(2), "n.num_batches_tracked": torch.tensor(3)}
    stray = {"step": torch.tensor(1), "x.num_batches_tracked": torch.tensor(1)}
    assert set(without_counters({**norm, **stray})) == set(norm)

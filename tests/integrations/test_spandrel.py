from __future__ import annotations

import importlib.util
import os
import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from srkd import resources
from srkd.errors import SrkdError
from srkd.integrations import basicsr, spandrel
from srkd.integrations.spandrel import SpandrelNetwork
from srkd.sr import published

DAT_LIGHT = resources.cache() / "models" / "dat_light_x4.pth"  # the user's own cache, which tests do not see
RRDB = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "num_grow_ch": 32}


def rrdb(scale: int) -> nn.Module:
    torch.manual_seed(0)
    return basicsr.network("RRDBNet", scale=scale, **RRDB).eval()


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
def test_a_network_comes_back_as_it_was_saved(tmp_path: Path, suffix: str) -> None:
    original, path = rrdb(scale=4), tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(original.state_dict(), path)
    else:
        torch.save({"params_ema": original.state_dict()}, path)
    found = spandrel.load(path)
    assert (found.architecture, found.scale, found.multiple) == ("ESRGAN", 4, 1)
    assert (found.input_channels, found.output_channels) == (3, 3)
    assert found.parameters == sum(p.numel() for p in original.parameters())
    assert not found.network.training
    lr = torch.rand(2, 3, 9, 7)
    assert torch.equal(found.network(lr), original(lr))
    assert found.network(lr).requires_grad, "a teacher must be usable in training, not only for inference"


def test_pictures_of_any_size_are_padded_to_what_the_network_takes(tmp_path: Path) -> None:
    torch.save(rrdb(scale=2).state_dict(), tmp_path / "x2.pth")  # folds 2 x 2 pixels into channels first
    found = spandrel.load(tmp_path / "x2.pth")
    assert found.multiple == 4
    lr = torch.rand(1, 3, 10, 7)
    mirrored = np.pad(lr.numpy(), ((0, 0), (0, 0), (0, 2), (0, 1)), mode="reflect")
    assert torch.equal(found.padded(lr), found.network(torch.from_numpy(mirrored))[..., :20, :14])


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (16, 16), (17, 40)])
@pytest.mark.parametrize("square", [False, True])
def test_padding_never_shows(size: tuple[int, int], square: bool) -> None:
    seen: list[tuple[int, int]] = []

    class Nearest(nn.Module):
        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            seen.append((lr.shape[-2], lr.shape[-1]))
            return nn.functional.interpolate(lr, scale_factor=3, mode="nearest")

    found = SpandrelNetwork(Nearest(), "nearest", 3, 0, 8, 16, square, 3, 3, ())
    lr = torch.rand(1, 3, *size)
    assert torch.equal(found.padded(lr), nn.functional.interpolate(lr, scale_factor=3, mode="nearest"))
    height, width = seen[0]
    assert height % 8 == width % 8 == 0 and min(height, width) >= 16
    assert height == width or not square


def test_a_network_that_is_not_plainly_called_is_called_as_spandrel_does(tmp_path: Path) -> None:
    spandrel._import()
    from spandrel import ModelLoader
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(0)
    state = DnCNN(in_nc=4, out_nc=3, nc=8, nb=20, act_mode="R", mode="FDnCNN").state_dict()  # 3 channels and the noise
    torch.save(state, tmp_path / "fdncnn.pth")
    found, theirs = spandrel.load(tmp_path / "fdncnn.pth"), ModelLoader().load_from_state_dict(state).eval()
    lr = torch.rand(1, 3, 8, 8)
    assert found.input_channels == 3
    assert torch.equal(found.network(lr).clamp(0, 1), theirs(lr))


class Bomb:
    """Unpickled by an unrestricted reader, it makes a folder."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("name", ["zip.pth", "old.pth", "plain.pth", "plain.pt", "plain.ckpt"])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path: Path, name: str) -> None:
    path, canary = tmp_path / name, tmp_path / "canary"
    bomb = {"params": {"weight": torch.zeros(1), "bomb": Bomb(canary)}}
    if name.startswith("plain"):
        path.write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=name.startswith("zip"))
    with pytest.raises(SrkdError, match=f"{name}: (refused: it holds Python objects|not a readable checkpoint)"):
        spandrel.load(path)
    assert not canary.exists()
    torch.load(path, weights_only=False) if "plain" not in name else pickle.loads(path.read_bytes())
    assert canary.exists(), "the bomb was a dud: this test proved nothing"


def test_files_that_are_no_checkpoint_are_refused_in_words(tmp_path: Path) -> None:
    whole = tmp_path / "whole.pth"
    torch.save(rrdb(scale=4).state_dict(), whole)
    (tmp_path / "half.pth").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "half.safetensors").write_bytes(whole.read_bytes()[:100])
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "picture.pth").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"my.weight": torch.zeros(3)}, tmp_path / "unknown.pth")
    torch.jit.script(nn.Linear(1, 1)).save(str(tmp_path / "script.pt"))
    said = {
        "half.pth": "not a readable checkpoint",
        "half.safetensors": "not a readable checkpoint",
        "empty.pth": "not a readable checkpoint",
        "picture.pth": "not a readable checkpoint",
        "script.pt": "not a readable checkpoint",
        "tensor.pth": "holds Tensor, not a dictionary of weights",
        "unknown.pth": r"no architecture that spandrel [\d.]+ knows has these weights \(first keys: my.weight\)",
        "missing.pth": "no such checkpoint",
    }
    for name, words in said.items():
        with pytest.raises(SrkdError, match=f"{name}: {words}") as caught:
            spandrel.load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_weights_that_only_look_like_a_known_network_are_refused(tmp_path: Path) -> None:
    state = rrdb(scale=4).state_dict()
    state["conv_body.weight"] = torch.zeros(1, 1, 1, 1)
    torch.save(state, tmp_path / "bent.pth")
    with pytest.raises(SrkdError, match=r"bent.pth: spandrel takes it for a network it knows, but cannot build it"):
        spandrel.load(tmp_path / "bent.pth")


def test_an_inpainting_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"any.weight": torch.zeros(1)}, tmp_path / "lama.pth")
    masked = SimpleNamespace(architecture=SimpleNamespace(name="LaMa"))
    monkeypatch.setattr(spandrel._import().ModelLoader, "load_from_state_dict", lambda self, state: masked)
    with pytest.raises(SrkdError, match="LaMa needs a mask"):
        spandrel.load(tmp_path / "lama.pth")


def test_a_missing_package_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spandrel._import.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SrkdError, match=r"pip install 'srkd\[teachers\]'"):
        spandrel.load(tmp_path / "any.pth")


@pytest.mark.skipif(not DAT_LIGHT.is_file(), reason="dat_light_x4 has not been fetched here")
def test_dat_light_x4_scores_what_its_authors_published(data: Path) -> None:
    """Set5, whole pictures, Y PSNR by BasicSR; only where the checkpoint has been fetched before."""
    import cv2

    from srkd.io.resize import imresize, modcrop

    found, scores = spandrel.load(DAT_LIGHT), []
    for path in sorted((data / "sr" / "eval" / "Set5" / "HR").glob("*.png")):
        hr = modcrop(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), 4)
        lr = torch.from_numpy(imresize(hr, 1 / 4)).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            sr = found.padded(lr)[0].clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
        scores.append(basicsr.psnr(sr, hr, crop_border=4))
    assert np.mean(scores) == pytest.approx(published.entry("DAT-light").scores(4)["Set5"]["psnr"], abs=0.01)

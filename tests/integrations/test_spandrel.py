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
from srkd.metrics import published
from srkd.training.checkpoint import load_weights

DAT_LIGHT = resources.cache() / "models" / "dat_light_x4.pth"  # the user's own cache, which tests do not see
RRDB = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 8, "num_block": 1, "num_grow_ch": 32}


def rrdb(scale: int) -> nn.Module:
    torch.manual_seed(0)
    return basicsr.network("RRDBNet", scale=scale, **RRDB).eval()


def loaded(path: Path) -> Any:
    return spandrel.load(load_weights(path)[0], str(path))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".safetensors"])
def test_a_saved_network_is_loaded_unchanged(tmp_path: Path, suffix: str) -> None:
    original, path = rrdb(scale=4), tmp_path / f"net{suffix}"
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(original.state_dict(), path)
    else:
        torch.save({"params_ema": original.state_dict()}, path)
    found = loaded(path)
    assert (found.architecture.name, found.scale, found.size_requirements.multiple_of) == ("ESRGAN", 4, 1)
    assert (found.input_channels, found.output_channels) == (3, 3)
    network = spandrel.network_of(found)
    assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in original.parameters())
    assert not any(module.training for module in network.modules())
    lr = torch.rand(2, 3, 9, 7)
    assert torch.equal(network(lr), original(lr))
    assert network(lr).requires_grad, "a teacher must be usable in training, not only for inference"


def test_size_constraints_are_reported(tmp_path: Path) -> None:
    torch.save(rrdb(scale=2).state_dict(), tmp_path / "x2.pth")  # starts with a pixel unshuffle of 2
    size = loaded(tmp_path / "x2.pth").size_requirements
    assert (size.multiple_of, size.square) == (4, False)


def test_a_network_with_its_own_call_function_is_called_by_it(tmp_path: Path) -> None:
    spandrel._import()
    from spandrel import ModelLoader
    from spandrel.architectures.DnCNN import DnCNN

    torch.manual_seed(0)
    state = DnCNN(in_nc=4, out_nc=3, nc=8, nb=20, act_mode="R", mode="FDnCNN").state_dict()  # 3 channels and the noise
    torch.save(state, tmp_path / "fdncnn.pth")
    found, theirs = loaded(tmp_path / "fdncnn.pth"), ModelLoader().load_from_state_dict(state).eval()
    lr = torch.rand(1, 3, 8, 8)
    assert found.input_channels == 3
    assert torch.equal(spandrel.network_of(found)(lr).clamp(0, 1), theirs(lr))


class Bomb:
    """Creates a folder when unpickled without restrictions."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.canary),)


@pytest.mark.parametrize("name", ["zip.pth", "old.pth", "plain.pth", "plain.pt", "plain.ckpt"])
def test_a_pickle_with_code_is_rejected_and_not_run(tmp_path: Path, name: str) -> None:
    path, canary = tmp_path / name, tmp_path / "canary"
    bomb = {"params": {"weight": torch.zeros(1), "bomb": Bomb(canary)}}
    if name.startswith("plain"):
        path.write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=name.startswith("zip"))
    with pytest.raises(SrkdError, match=f"{name}: contains more than tensors, or is not a checkpoint; it was not run"):
        loaded(path)
    assert not canary.exists()
    torch.load(path, weights_only=False) if "plain" not in name else pickle.loads(path.read_bytes())
    assert canary.exists(), "the bomb was a dud: this test proved nothing"


def test_weights_of_no_known_network_are_not_recognised(tmp_path: Path) -> None:
    with pytest.raises(spandrel.NotRecognisedError, match=r"f: not recognised: .* these 1 weights \(my.weight, ...\)"):
        spandrel.load({"my.weight": torch.zeros(3)}, "f")


def test_unused_tensors_may_be_ignored() -> None:
    compact = basicsr.network("SRVGGNetCompact", num_feat=4, num_conv=1, upscale=2)
    state = {**compact.state_dict(), "mean": torch.zeros(3)}
    with pytest.raises(SrkdError, match="cannot build it"):
        spandrel.load(state, "f")
    assert spandrel.load(state, "f", lambda tensor: tensor.dim() == 1).architecture.name == "RealESRGAN Compact"


def test_weights_that_only_resemble_a_known_network_are_rejected(tmp_path: Path) -> None:
    state = rrdb(scale=4).state_dict()
    state["conv_body.weight"] = torch.zeros(1, 1, 1, 1)
    torch.save(state, tmp_path / "bent.pth")
    with pytest.raises(SrkdError, match=r"bent.pth: spandrel detects a known network, but cannot build it"):
        loaded(tmp_path / "bent.pth")


def test_an_inpainting_network_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"any.weight": torch.zeros(1)}, tmp_path / "lama.pth")
    masked = SimpleNamespace(architecture=SimpleNamespace(name="LaMa"))
    monkeypatch.setattr(spandrel._import().ModelLoader, "load_from_state_dict", lambda self, state: masked)
    with pytest.raises(SrkdError, match="LaMa needs a mask"):
        loaded(tmp_path / "lama.pth")


def test_a_missing_package_error_names_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spandrel._import.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SrkdError, match=r"pip install 'srkd\[teachers\]'"):
        spandrel.load({}, "any.pth")


@pytest.mark.skipif(not DAT_LIGHT.is_file(), reason="dat_light_x4 has not been fetched here")
def test_dat_light_x4_reaches_its_published_psnr(data: Path) -> None:
    """Set5, whole images, Y PSNR by BasicSR; only where the checkpoint has been fetched before."""
    import cv2

    from srkd.images.resize import imresize, modcrop
    from srkd.inference.model import Model

    model, scores = Model.load(DAT_LIGHT), []
    for path in sorted((data / "sr" / "eval" / "Set5" / "HR").glob("*.png")):
        hr = modcrop(cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB), 4)
        scores.append(basicsr.psnr(model(imresize(hr, 1 / 4)[None])[0], hr, crop_border=4))
    assert np.mean(scores) == pytest.approx(published.entry("DAT-light").scores(4)["Set5"]["psnr"], abs=0.01)

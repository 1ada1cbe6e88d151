from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from srkd.benchmarks import basicsr as baseline
from srkd.benchmarks import upscale as benchmark
from srkd.errors import SrkdError
from srkd.images.read import ImageData, read_rgb, write_image
from srkd.inference.autotune import BackendSpec
from srkd.networks import build
from srkd.training.checkpoint import save_weights
from support import textured

SPEC = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}


@contextmanager
def thread() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(4):
        write_image(tmp_path / "data" / f"{number}.png", ImageData(textured(number, 20 + 10 * number, 60)))
    return tmp_path / "data"


def test_srkd_and_basicsr_give_the_same_images(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "stock_process", thread)
    checkpoint = tmp_path / "tiny.safetensors"
    torch.manual_seed(0)
    save_weights(checkpoint, build(SPEC).state_dict(), {"network": SPEC, "scale": 2})
    messages: list[str] = []
    result = benchmark.against_basicsr(
        str(checkpoint), str(folder), 2, (50, 24), 1, messages.append, BackendSpec("torch", "fp32")
    )
    assert result["psnr_to_fp32"] > 60
    assert result["ratio"] == result["seconds"]["basicsr"] / result["seconds"]["srkd"]
    assert [row["way"] for row in result["rows"]] == ["BasicSR", "srkd, torch fp32"] and len(messages) == 2
    spec = BackendSpec("openvino", "bf16")
    other = benchmark.against_basicsr(str(checkpoint), str(folder), 1, (50, 24), 1, messages.append, spec)
    assert other["rows"][1]["way"] == "srkd, openvino bf16" and other["psnr_to_fp32"] > 45


def test_images_are_centre_cropped_and_small_ones_left_out(folder: Path, tmp_path: Path) -> None:
    files = benchmark.cut(str(folder), tmp_path / "in", 2, (50, 40))
    assert np.array_equal(read_rgb(files[1]), read_rgb(folder / "3.png")[5:45, 5:55])
    with pytest.raises(SrkdError, match="2 images of at least 50x40, 3 are needed"):
        benchmark.cut(str(folder), tmp_path / "again", 3, (50, 40))


def test_a_network_that_basicsr_lacks_raises(folder: Path, tmp_path: Path) -> None:
    spec = {**SPEC, "num_mid": [2]}
    save_weights(tmp_path / "p.safetensors", build(spec).state_dict(), {"network": spec, "scale": 2})
    with pytest.raises(SrkdError, match="BasicSR does not have this network"):
        benchmark.against_basicsr(str(tmp_path / "p.safetensors"), str(folder), 1, (20, 20), 1, lambda line: None)

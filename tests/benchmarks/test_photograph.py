"""One photograph through several models: seconds, closeness to the last, and the sheet."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from srkd import networks
from srkd.benchmarks import photograph
from srkd.cli.main import main
from srkd.images.read import read_image
from srkd.imitation import photograph as degraded
from srkd.training.checkpoint import save_weights


def checkpoint(path: Path, scale: int) -> str:
    torch.manual_seed(len(path.stem))
    spec = {"type": "NearestResNet", "num_feat": 4, "num_block": 1, "upscale": scale}
    save_weights(path, networks.build(spec).state_dict(), {"network": spec, "scale": scale, "name": path.stem})
    return str(path)


def test_each_model_is_timed_and_compared_with_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = degraded.sample()
    assert sample.shape == (150, 225, 3) and sample.dtype == np.uint8
    monkeypatch.setattr(degraded, "sample", lambda: sample[:48, :60])
    models = [checkpoint(tmp_path / f"{name}.safetensors", 2) for name in ("student", "teacher2")]
    out = tmp_path / "out"
    options = ["--side", "70", "--rounds", "1", "--runtime", "torch", "--precision", "fp32"]
    assert main(["benchmark", "photograph", "-m", *models, *options, "-o", str(out), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["model"] for row in rows] == ["bicubic", "student", "teacher2"]
    assert rows[2]["times as fast"] == 1 and rows[2]["PSNR to the last (dB)"] is None
    assert all(row["seconds"] >= 0 and row["PSNR to the last (dB)"] > 0 for row in rows[:2])
    assert rows == json.loads((out / "photograph.json").read_text())["rows"]
    assert read_image(out / "photograph.png").pixels.shape[2] == 3


def test_models_of_different_scales_are_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [checkpoint(tmp_path / f"x{scale}.safetensors", scale) for scale in (2, 4)]
    assert main(["benchmark", "photograph", "-m", *models]) == 1
    assert capsys.readouterr().err.strip() == "srkd: models of different scales: x2 x2, x4 x4"


def test_a_small_photograph_is_mirrored_to_the_size() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    large = photograph._enlarged(image, 5)
    assert large.shape == (5, 5, 3) and (large[:2, :3] == image).all() and (large[2, :3] == image[1]).all()

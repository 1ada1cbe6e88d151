"""The benchmark of a clip, with a tiny network and a few small frames; no time is tested."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from srkd.benchmarks import video
from srkd.cli.main import main
from srkd.networks import build
from srkd.training.checkpoint import save_weights

pytest.importorskip("av", reason="the extra video is not installed")


def test_a_clip_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}
    save_weights(tmp_path / "tiny.safetensors", build(spec).state_dict(), {"network": spec, "scale": 2})
    monkeypatch.setattr(video, "in_subprocess", lambda function, *given: function(*given))
    threads = torch.get_num_threads()
    arguments = ["benchmark", "video", "-m", str(tmp_path / "tiny.safetensors"), "--size", "32x24", "--frames", "12"]
    assert main([*arguments, "--runtime", "torch", "--precision", "fp32", "-o", str(tmp_path / "out"), "--json"]) == 0
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [row["frames"] for row in printed["rows"]] == [10, 10, 12]
    assert 0 < printed["network share (%)"] <= 100 and printed["ratio (%)"] > 0
    assert set(printed["waits (s)"]) == {"decoding", "encoding"} and printed["backend"] == "torch fp32"
    assert json.loads((tmp_path / "out" / "video.json").read_text()) == printed
    assert torch.get_num_threads() == threads


def test_a_clip_of_odd_sides_is_rejected(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "video", "--size", "33x24"]) == 1
    assert "the sides of a clip must be even, got 33x24" in capsys.readouterr().err

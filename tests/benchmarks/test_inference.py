from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from srkd.benchmarks import frontier, ladders
from srkd.benchmarks import inference as benchmark
from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.networks import build
from srkd.training.checkpoint import save_weights

SPEC = {"type": "EDSR", "num_feat": 4, "num_block": 1, "upscale": 2}


@pytest.fixture
def checkpoint(tmp_path: Path) -> str:
    torch.manual_seed(0)
    save_weights(tmp_path / "tiny.safetensors", build(SPEC).state_dict(), {"network": SPEC, "scale": 2})
    return str(tmp_path / "tiny.safetensors")


def test_the_table_and_its_files(
    checkpoint: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "in_subprocess", lambda function, *arguments: function(*arguments))
    selection = benchmark.Selection(["torch", "stock"], None)
    rows = benchmark.inference([checkpoint], selection, [(20, 16), (30, 20)], str(photos), 0.01, lambda line: None)
    assert [(r["runtime"], r["precision"], r["size"]) for r in rows[:2]] == [
        ("stock", "fp32", "20x16"),
        ("stock", "fp32", "30x20"),
    ]
    assert len(rows) == 6
    # 4 features: 9 * (3*4 + 3*4*4 + 4*16) products a pixel of input, then 9 * 4 * 3 for each of its 4 of output.
    assert rows[0]["G multiply-adds"] == round(20 * 16 * 9 * (12 + 48 + 64 + 4 * 12) / 1e9, 3)
    assert rows[1]["ms"] * rows[1]["images/s"] == pytest.approx(1000, rel=0.05)
    assert {row["PSNR"] for row in rows[:4]} == {rows[0]["PSNR"]}
    assert abs(rows[4]["PSNR"] - rows[0]["PSNR"]) < 0.3
    benchmark.write(rows, tmp_path / "out")
    assert len(json.loads((tmp_path / "out" / "inference.json").read_text())["rows"]) == 6
    assert (tmp_path / "out" / "inference.md").read_text().startswith("| model")
    assert b"<svg" in (tmp_path / "out" / "pareto.svg").read_bytes()


def test_invalid_names_raise() -> None:
    with pytest.raises(SrkdError, match="torch"):
        benchmark.Selection(["troch"])
    with pytest.raises(SrkdError, match="no runtime has that precision"):
        benchmark.Selection(["stock"], ["bf16"]).available()


@pytest.mark.parametrize("action", ["inference", "ladders", "frontier"])
def test_a_missing_runtime_is_named_before_the_work(
    action: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ncnn", None)
    for module in (benchmark, frontier, ladders):
        monkeypatch.setattr(module, "in_subprocess", lambda *_: pytest.fail("it was measured"))
    model = ["-m", "edsr_16x8_x2"] if action == "inference" else []
    assert main(["benchmark", action, *model, "--runtime", "ncnn", "--precision", "fp32"]) == 1
    assert capsys.readouterr().err == "srkd: ncnn is not installed: pip install 'srkd[ncnn]'\n"


def test_other_runtimes_have_rows_too(checkpoint: str, photos: Path) -> None:
    row = benchmark.measure(checkpoint, ("openvino", "bf16"), (20, 16), str(photos), 0.01)
    exact = benchmark.measure(checkpoint, benchmark.STOCK, (20, 16), str(photos), 0.01)
    assert abs(row["PSNR"] - exact["PSNR"]) < 0.3 and row["ms"] > 0 and row["peak MB"] >= 0
    assert row["G multiply-adds"] == exact["G multiply-adds"]


def test_peak_flops_in_each_precision() -> None:
    assert all((benchmark.peak_flops(precision, 0) or 0) > 1e9 for precision in ("fp32", "bf16", "int8"))

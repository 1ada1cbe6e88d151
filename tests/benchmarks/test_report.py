import json
from pathlib import Path

from srkd.benchmarks import inference, report
from srkd.report import plots


def test_a_benchmark_writes_its_table_in_three_formats(tmp_path: Path) -> None:
    rows = [{"work": "student", "steps/s": 18.78}]
    report.write(tmp_path, "training", rows, ["work", "steps/s"], remarks=["a remark"])
    assert json.loads((tmp_path / "training.json").read_text())["rows"] == rows
    assert (tmp_path / "training.md").read_text().endswith("|\n\na remark\n")
    report.write(tmp_path, "upscale", rows, ["work"], result={"psnr": float("inf")})
    assert (tmp_path / "upscale.json").read_text().split() == ["{", '"psnr":', '"inf"', "}"]
    report.write(tmp_path, "training", rows, ["work", "steps/s"], remarks=["a remark"])
    page = (tmp_path / "report.html").read_text()
    assert 'data-sort="18.78"' in page and "a remark" in page and "Benchmark: training" in page


def test_inference_is_plotted_if_psnr_was_measured(tmp_path: Path) -> None:
    row = {name: 1 for name in inference.COLUMNS} | {"model": "a", "protocol": "Y"}
    inference.write([row, {**row, "ms": 2, "PSNR": None}], tmp_path)
    assert not (tmp_path / "pareto.svg").exists()
    inference.write([row, {**row, "ms": 2, "PSNR": 3}], tmp_path)
    assert (tmp_path / "pareto.svg").read_bytes().startswith(b"<?xml")
    assert "PSNR against ms" in (tmp_path / "report.html").read_text() and plots.available()

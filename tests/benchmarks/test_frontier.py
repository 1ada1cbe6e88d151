"""The zoo and published networks in one table: no network is run here, except in `_here`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from srkd import networks
from srkd.benchmarks import frontier
from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.metrics import published
from srkd.networks import zoo


def test_both_kinds_are_sorted_by_multiply_adds_and_small() -> None:
    found = frontier.entries(2)
    costs = [each.multiply_adds for each in found]
    assert costs == sorted(costs) and costs[-1] <= 100e9
    by_name = {each.name: each for each in found}
    assert by_name["ETDS-M"].psnr["Urban100"] == 30.87 and by_name["ETDS-M"].network == {
        "type": "ETDS",
        "num_feat": 32,
        "num_block": 6,
    }
    ours = by_name["edsr_16x8_x2"]
    assert ours.parameters == 49_603 and ours.psnr["B100"] == zoo.metrics("edsr_16x8_x2")["sets"]["B100"]["psnr"]
    assert ours.network is not None and ours.network["type"] == "EDSR"
    assert "EDSR-baseline" not in by_name and "bicubic" not in by_name
    with pytest.raises(SrkdError, match="no networks for x8: the frontier is of x2, x3, x4"):
        frontier.entries(8)


def test_every_structure_can_be_built_at_its_scales() -> None:
    for scale in published.SCALES:
        for each in frontier.entries(scale):
            assert each.network is None or networks.build(each.network, scale)


@pytest.fixture
def _measured(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Measurements that take a millisecond for each feature."""
    asked: list[dict[str, Any]] = []

    def measure(function: Any, spec: dict[str, Any], *arguments: Any) -> list[float]:
        json.dumps([spec, arguments])
        asked.append(spec)
        return [float(spec.get("num_feat", 64))]

    monkeypatch.setattr(frontier, "in_subprocess", measure)
    return asked


def test_a_structure_is_measured_once_and_scored_at_x4(_measured: list[dict[str, Any]]) -> None:
    found = frontier.frontier([4], [("torch", "fp32")], 1, 0.1, lambda line: None)
    rows = {row["network"]: row for row in found.scales[4]}
    assert rows["ETDS-M"]["torch fp32 ms"] == 32.0 and "torch fp32 ms" not in rows["SAFMN"]
    assert len(_measured) == len({repr(spec) for spec in _measured})
    assert {"type": "SPAN", "num_feat": 28, "num_block": 6} in _measured
    # 16 of 28 ms, 16,770 of 150,688 parameters and 0.96 of 8.64 G multiply-adds, weighted by 0.8, 0.1 and 0.1.
    assert rows["ECBSR-M4C16"][frontier.SCORE] == pytest.approx(0.8 * 3.136 + 0.1 * 1.249 + 0.1 * 1.249, abs=0.01)
    assert frontier.SCORE not in rows["SAFMN"]


def test_the_command_writes_tables_and_plots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["benchmark", "frontier", "--precision", "--scale", "2", "3", "-o", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "edsr_16x8_x2" in printed and "ETDS-M" in printed and " ms" not in printed
    written = json.loads((tmp_path / "frontier.json").read_text())
    assert {"date", "machine", "x2", "x3"} == set(written) and len(written["date"]) == 10
    drawn = (tmp_path / "frontier_x2.svg").read_text()
    assert ">ETDS<" in drawn and ">ETDS-M<" not in drawn and ">edsr_16x8_x2<" in drawn and "PSNR on B100" in drawn
    assert not list(tmp_path.glob("*_ms.svg")) and "## x3" in (tmp_path / "frontier.md").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--set", "Set6"], 'unknown set "Set6"'), (["--scale", "8", "--precision"], "no networks for x8")],
)
def test_invalid_options_are_stated(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "frontier", *options]) == 1
    assert message in capsys.readouterr().err


def test_an_untrained_structure_is_measured_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frontier, "in_subprocess", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(frontier, "OUTPUT", (64, 32))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    few = [frontier.Point("tiny", "published", 1, 1e9, {}, {"type": "ETDS", "num_feat": 8, "num_block": 1})]
    monkeypatch.setattr(frontier, "entries", lambda scale: few)
    (row,) = frontier.frontier([2], [("torch", "fp32")], 1, 0.001, lambda line: None).scales[2]
    assert row["torch fp32 ms"] > 0

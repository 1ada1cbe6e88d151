"""Sizes of networks by name, and their measured rows."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from srkd.benchmarks import ladders
from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.networks import registry


@pytest.fixture
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure in this process, which keeps its threads."""

    def call(function: Any, *arguments: Any) -> Any:
        return function(*json.loads(json.dumps(arguments)))

    monkeypatch.setattr(ladders, "in_subprocess", call)
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)


def test_networks_and_single_sizes_are_found_by_name() -> None:
    assert ladders.rungs(["ETDS 14x2", "EDSR 16x8"]) == {
        "ETDS 14x2": {"type": "ETDS", "num_feat": 14, "num_block": 2},
        "EDSR 16x8": {"type": "EDSR", "num_feat": 16, "num_block": 8, "img_range": 1.0},
    }
    assert {title.split()[0] for title in ladders.rungs()} == {name for name, _ in registry.ladders()}
    assert len(ladders.rungs(["SESR"])) == sum(map(len, dict(registry.ladders())["SESR"].lines("SESR")))


@pytest.mark.parametrize(("name", "message"), [("ETSD", 'did you mean "ETDS"'), ("ETDS 3", 'as in "ETDS 32x4"')])
def test_other_names_are_reported(name: str, message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        ladders.rungs([name])


@pytest.mark.usefixtures("_here")
def test_a_row_for_each_size_with_a_time_for_each_backend_and_input(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--runtime", "torch", "--precision", "fp32", "bf16", "--size", "24x16", "33x17", "--seconds", "0.001"]
    names = ["UnshuffleSR 8x1", "PlainUSR 8x3"]
    assert main(["benchmark", "ladders", "-n", *names, *options, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["network"] for row in rows] == names
    columns = {f"torch {precision} {size}" for precision in ("fp32", "bf16") for size in ("24x16", "33x17")}
    assert all(columns < row.keys() and all(row[name] > 0 for name in columns) for row in rows)

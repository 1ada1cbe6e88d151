from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.inference.job_report import check_report, write_report
from srkd.inference.jobs import Job, Outcome

OUTCOMES = [
    Outcome(Job(Path("a.png"), Path("out/a.png"), "png"), "written", size=((4, 6), (8, 12)), notes=("one", "two")),
    Outcome(Job(Path("b,.png"), Path("out/b,.png"), "png"), "failed", error="b,.png: not an image"),
]


def test_formats_have_the_same_rows(tmp_path: Path) -> None:
    lines, array, table = (tmp_path / f"rows{suffix}" for suffix in (".jsonl", ".JSON", ".csv"))
    for path in (lines, array, table):
        write_report(str(path), OUTCOMES)
    rows = json.loads(array.read_text())
    assert [json.loads(line) for line in lines.read_text().splitlines()] == rows
    assert rows[0]["size"] == [6, 4] and rows[0]["upscaled_size"] == [12, 8] and rows[1]["error"] == OUTCOMES[1].error
    with table.open(newline="") as stream:
        cells = list(csv.DictReader(stream))
    assert [cell["source"] for cell in cells] == ["a.png", "b,.png"]
    assert cells[0]["size"] == "6x4" and cells[0]["notes"] == "one; two" and cells[1]["size"] == ""


def test_another_suffix_is_rejected() -> None:
    check_report(None)
    with pytest.raises(SrkdError, match=r"rows\.txt: a report is named \.jsonl, \.json or \.csv"):
        check_report("rows.txt")

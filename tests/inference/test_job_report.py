from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from srkd.errors import SrkdError
from srkd.inference import job_report
from srkd.inference.job_report import check_report, write_report
from srkd.inference.jobs import Job, Outcome, as_row

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


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "＝"])
def test_a_name_is_no_formula_in_a_spreadsheet(start: str, tmp_path: Path) -> None:
    name = f'{start}1+cmd,;="1.png'
    job = Job(Path(name), Path(f"out/{name}"), "png")
    failed = Outcome(job, "failed", notes=(f"{start}note",), error=f"{name}: not an image")
    write_report(str(tmp_path / "rows.csv"), [failed])
    text = (tmp_path / "rows.csv").read_text(encoding="utf-8")
    with (tmp_path / "rows.csv").open(encoding="utf-8", newline="") as stream:
        (row,) = csv.DictReader(stream)
    for value in (row["source"], row["notes"], row["error"]):
        assert value.startswith(("'", "\\"))  # control characters are escaped
    assert row["source"].removeprefix("'") == as_row(failed)["source"] and row["target"] == as_row(failed)["target"]
    assert all(cell.startswith('"') for cell in text.splitlines()[1].split('","')[:1])
    write_report(str(tmp_path / "rows.json"), [failed])
    assert json.loads((tmp_path / "rows.json").read_text())[0]["source"] == as_row(failed)["source"]


def test_numbers_in_a_table_stay_numbers() -> None:
    assert job_report._csv([{"drop": -0.25, "images": 3, "name": "-x", "note": None}]) == (
        '"drop","images","name","note"\n-0.25,3,"\'-x",""\n'
    )


def test_another_suffix_is_rejected() -> None:
    check_report(None)
    with pytest.raises(SrkdError, match=r"rows\.txt: a report is named \.jsonl, \.json or \.csv"):
        check_report("rows.txt")


def test_several_processes_do_not_replace_each_others_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_report(None)
    with pytest.raises(SrkdError, match=r"rows\.csv: several processes would replace each other's rows"):
        check_report("rows.csv")

"""What a teacher of families adds to one of classes: `both` and `truth` against `plain`, of the same seeds.

From the results of both_10.yml and both_25.yml beside this file: `python added.py` writes added.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from srkd.files.atomic import write_json
from srkd.studies.plan import CONTROL
from srkd.studies.recorded import read_results
from srkd.studies.verdicts import Results, score_tables

HERE = Path(__file__).parent
COMPARED = {"plain": CONTROL, "both": "both", "truth": "truth"}


def added(share: int) -> list[dict[str, Any]]:
    """The tables of scores of one share of the labels, with `plain` in the control's place."""
    found = read_results(HERE / f"both_{share}_results.json")
    runs: Results = {name: {} for name in COMPARED.values()}
    for run in found["runs"]:
        if run["variant"] in COMPARED:
            runs[COMPARED[run["variant"]]][run["seed"]] = run
    return score_tables(runs, found["alpha"], found["lower"], {})


def main() -> None:
    tables = {f"share_{share}": added(share) for share in (10, 25)}
    write_json(HERE / "added.json", tables)


if __name__ == "__main__":
    main()

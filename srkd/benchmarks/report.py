"""The files of a benchmark: <name>.json, <name>.md and report.html."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from srkd.files.atomic import write_json, write_text
from srkd.inference.speed import machine
from srkd.report import html, tables
from srkd.report.html import PageSection


def write(
    folder: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    result: Any = None,
    remarks: Sequence[str] = (),
    plots: Sequence[PageSection] = (),
) -> None:
    """Write the three files.

    Args:
        name: name of the benchmark, e.g. "training" or "inference".
        result: content of the JSON file; by default the table.
        remarks: lines below the table.
        plots: further sections of the HTML report.
    """
    # PSNR of equal images is infinite, which JSON cannot represent.
    plain = tables.as_json(rows, columns) if result is None else json.dumps(result)
    write_json(folder / f"{name}.json", json.loads(plain, parse_constant=lambda word: str(float(word))))
    write_text(folder / f"{name}.md", "\n\n".join([tables.markdown(rows, columns), *remarks]) + "\n")
    measured: PageSection = {"heading": "Measured", "table": {"rows": rows, "columns": columns}, "paragraphs": remarks}
    page = html.page(f"Benchmark: {name}", [measured, *plots], f"Measured on {machine()}.", f"benchmark {name}")
    write_text(folder / "report.html", page)

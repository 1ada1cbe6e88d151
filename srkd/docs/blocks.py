"""Tables in written pages, generated from committed files; see srkd/docs/figures.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from srkd.docs.answers import ANSWERS, missing_runs, study_results
from srkd.docs.formats import formats_table
from srkd.docs.sources import Sources
from srkd.docs.study_values import written
from srkd.errors import SrkdError
from srkd.metrics import published
from srkd.report import tables


def rows(sources: Sources, words: Sequence[str]) -> str:
    """`rows file#keys column...`: a list of rows as a table; `column=title` renames a column.

    A value {"mean", "SD"} is written as 52.9 ± 0.1.
    """
    columns = [word.partition("=")[::2] for word in words[1:]]
    found = [
        {title or key: _plain(row[key]) for key, title in columns if key in row}
        | ({"protocol": row["protocol"]} if "protocol" in row else {})
        for row in sources.value(words[0])
    ]
    return tables.markdown(found, [title or key for key, title in columns])


def printed(sources: Sources, words: Sequence[str]) -> str:
    """`printed file#keys column...`: {"title" (optional), "rows"} as a command prints it in the terminal."""
    found = sources.value(words[0])
    title = [found["title"]] if "title" in found else []
    return "\n".join(["```text", *title, tables.text(found["rows"], words[1:]), "```"])


def _plain(value: Any) -> Any:
    return written(value, "mean .1f") if isinstance(value, Mapping) else value


def scores(sources: Sources, words: Sequence[str]) -> str:
    """`scores SCALE set... -- model...`: PSNR/SSIM of published networks and zoo models, in the given order.

    A zoo model is `name` or `name=label`, a published network `published:name`.
    """
    scale, split = int(words[0]), words.index("--")
    sets, found = words[1:split], []
    for word in words[split + 1 :]:
        name, _, label = word.partition("=")
        if name.startswith("published:"):
            row = published.row(name.partition(":")[2], scale)
            found.append({**row, "model": f"{label or row['model']}, published"})
        else:
            known = sources.value(f"models/{name}/metrics.json")
            measured = known["bicubic"] if label == "bicubic" else known["sets"]
            parameters = None if label == "bicubic" else known["parameters"]
            found.append({"model": label or f"`{name}`", "parameters": parameters, **published.score_cells(measured)})
    return tables.markdown(found, ["model", "parameters", *sets])


def study(sources: Sources, words: Sequence[str]) -> str:
    """`study file set metric [digits [variant...]]`: a study's variants and control, with intervals."""
    file, name, metric, digits = (*words, "3")[:4]
    found = sources.value(f"{file}#scores/set={name},metric={metric}")
    wanted = words[4:]
    judged = [_judged(row, int(digits)) for row in found["rows"] if not wanted or row["variant"] in wanted]
    columns = ["variant", "seeds", "mean", "difference", "interval", "p (Holm)", "verdict"]
    return tables.markdown(judged, [column for column in columns if any(column in row for row in judged)])


def judged(sources: Sources, words: Sequence[str]) -> str:
    """`judged recipe results set metric [digits]`: the block `study`, or what is missing if no run is finished."""
    recipe, results, *rest = words
    found = study_results(sources, results)
    if not found["runs"]:
        return f"No results yet: {missing_runs(sources, recipe, found)}."
    return study(sources, [results, *rest])


def _judged(row: Mapping[str, Any], digits: int) -> dict[str, Any]:
    cells: dict[str, Any] = {"variant": row["variant"], "seeds": row["seeds"], "protocol": row.get("protocol")}
    if "mean" in row:
        cells["mean"] = f"{row['mean']:.{digits}f}"
    if row.get("difference") is not None:
        cells["difference"] = f"{row['difference']:+.{digits}f}"
    if row.get("low") is not None:
        cells["interval"] = f"{row['low']:+.{digits}f} to {row['high']:+.{digits}f}"
    if row.get("p_holm") is not None:
        cells["p (Holm)"] = f"{row['p_holm']:.2g}"
    return cells | ({"verdict": row["verdict"]} if "verdict" in row else {})


def grid(sources: Sources, words: Sequence[str]) -> str:
    """`grid HEADING row... -- column...`: a table whose cells are figures.

    A row is `label=word,...`, a column `title=figure`, where the figure is written as in a marker, with {0}, {1}, ...
    for the row's words. A cell whose figure uses the word `-` is a dash.
    """
    if "--" not in words:
        raise SrkdError('a grid needs a heading, rows, "--" and columns')
    split = words.index("--")
    heading, columns = words[0], [word.partition("=")[::2] for word in words[split + 1 :]]
    found: list[dict[str, Any]] = []
    for word in words[1:split]:
        label, _, values = word.partition("=")
        found.append({heading: label} | {title: _cell(sources, of, values.split(",")) for title, of in columns})
    return tables.markdown(found, [heading, *(title for title, _ in columns)])


def _cell(sources: Sources, figure: str, words: Sequence[str]) -> str:
    if any(word == "-" and f"{{{place}}}" in figure for place, word in enumerate(words)):
        return "-"
    for place, word in enumerate(words):
        figure = figure.replace(f"{{{place}}}", word)
    return sources.figure(figure)


BLOCKS: dict[str, Callable[[Sources, Sequence[str]], str]] = {
    "rows": rows,
    "printed": printed,
    "scores": scores,
    "study": study,
    "judged": judged,
    "grid": grid,
    "formats": formats_table,
    **ANSWERS,
}

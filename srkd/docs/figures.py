"""Figures in written pages, filled in from committed files, so that none is typed by hand.

A page marks where a figure belongs with a pair of HTML comments, which Markdown does not show:

    <!--= models/edsr_16x8_x2/metrics.json#sets/Set5/psnr : .2f -->37.50<!--/-->

A source is `file#keys`: a JSON or YAML file below the root of the project, or beside the page where it starts with
`./`, and the keys that lead to the value; `name=value` takes the item of a list whose `name` is `value` (several joined
by `,`). Sources and plain numbers may be combined by ` + `, ` - `, ` * ` and ` / `, from left to right. The format is
one of Python's; `ssim` writes .9587 for 0.9587.

`<!--let x2 = models/edsr_16x8_x2/metrics.json#sets-->` gives the beginning of a source a short name within its page, so
that `x2/Set5/psnr` is the source above; a source with spaces stands in quotes. Where a marker starts with the name of a
function of `BLOCKS`, that function's Markdown stands between the comments.

`python tools/figures.py` fills the pages in; `make docs` fails where one differs from its files.
"""

from __future__ import annotations

import json
import operator
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from srkd.engine.recipe import read
from srkd.errors import SrkdError, unknown
from srkd.report import tables
from srkd.sr import published, zoo
from srkd.study.cards import card

_MARKER = re.compile(r"<!--= (?P<what>[^\n]*?) -->(?P<text>.*?)<!--/-->", re.DOTALL)
_SHORT_NAME = re.compile(r"<!--let (?P<name>\w+) = (?P<source>\S+)-->")
_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@dataclass
class Page:
    """A Markdown file that holds figures.

    Args:
        path: the file.
        root: the project's root, which sources are relative to.
    """

    path: Path
    root: Path
    _files: dict[Path, Any] = field(default_factory=dict)

    def filled(self) -> str:
        """The page's text with every figure as its files say.

        Raises:
            SrkdError: a marker whose file, key or format is not there; the marker and its line are named.
        """
        text = self.path.read_text(encoding="utf-8")
        names = dict(_SHORT_NAME.findall(text))

        def fill(found: re.Match[str]) -> str:
            try:
                value = self._value(found["what"], names)
            except SrkdError as error:
                line = text.count("\n", 0, found.start()) + 1
                raise SrkdError(f"{self.path}, line {line}: {found['what']}: {error}") from error
            return f"<!--= {found['what']} -->{value}<!--/-->"

        return _MARKER.sub(fill, text)

    def stale(self) -> list[str]:
        """What is wrong with the page: one line for each figure that differs from its file."""
        text, wrong = self.path.read_text(encoding="utf-8"), []
        for now, then in zip(_MARKER.finditer(text), _MARKER.finditer(self.filled()), strict=True):
            if now["text"] != then["text"]:
                line = text.count("\n", 0, now.start()) + 1
                wrong.append(f"{self.path}, line {line}: {now['what']}: {_differing(now['text'], then['text'])}")
        return wrong

    def _value(self, what: str, names: Mapping[str, str]) -> str:
        words = shlex.split(what)
        if words and words[0] in BLOCKS:
            return f"\n\n{BLOCKS[words[0]](lambda source: self._look_up(source, names), words[1:])}\n\n"
        expression, _, form = what.partition(" : ")
        value = self._evaluate(shlex.split(expression), names)
        try:
            return f"{value:.4f}".removeprefix("0") if form == "ssim" else format(value, form)
        except (TypeError, ValueError) as error:
            raise SrkdError(f'{value!r} cannot be written as "{form}"') from error

    def _evaluate(self, words: Sequence[str], names: Mapping[str, str]) -> Any:
        if len(words) % 2 == 0 or not all(word in _OPERATORS for word in words[1::2]):
            raise SrkdError("a figure is a source, or sources and numbers with +, -, * or / between them")
        value = self._look_up(words[0], names)
        for sign, word in zip(words[1::2], words[2::2], strict=True):
            value = _OPERATORS[sign](value, self._look_up(word, names))
        return value

    def _look_up(self, source: str, names: Mapping[str, str]) -> Any:
        if re.fullmatch(r"-?[\d.]+(e-?\d+)?", source):
            return float(source)
        first = re.match(r"\w*", source)
        if first and first[0] in names:
            source = names[first[0]] + source[first.end() :]
        name, _, keys = source.partition("#")
        path = self.path.parent / name if name.startswith("./") else self.root / name
        if path not in self._files:
            self._files[path] = _read(path)
        value = self._files[path]
        for key in filter(None, keys.split("/")):
            value = _item(value, key)
        return value


def _read(path: Path) -> Any:
    if not path.is_file():
        raise SrkdError(f"{path}: not found")
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def _item(value: Any, key: str) -> Any:
    """One step down: a key of a mapping, a number of a list, or the one item of a list that `name=value` describes."""
    if isinstance(value, Mapping):
        if key not in value:
            raise unknown("key", key, list(value))
        return value[key]
    if not isinstance(value, list):
        raise SrkdError(f'"{key}": there are no keys below a {type(value).__name__}')
    if key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    wanted = dict(part.partition("=")[::2] for part in key.split(","))
    found = [item for item in value if all(str(item.get(name)) == text for name, text in wanted.items())]
    if len(found) != 1:
        raise SrkdError(f'"{key}": {len(found)} items of the list are so, and one should be')
    return found[0]


def _differing(now: str, then: str) -> str:
    lines = list(zip(now.splitlines() or [""], then.splitlines() or [""], strict=False))
    old, new = next(((a, b) for a, b in lines if a != b), (now, then))
    return f"the page says {old.strip()!r}, its files {new.strip()!r}"


LookUp = Callable[[str], Any]


def _rows(look_up: LookUp, words: Sequence[str]) -> str:
    """`rows file#keys column...`: a list of rows as a table; `column=title` heads a column with other words."""
    columns = [word.partition("=")[::2] for word in words[1:]]
    rows = [
        {title or key: row[key] for key, title in columns if key in row}
        | ({"protocol": row["protocol"]} if "protocol" in row else {})
        for row in look_up(words[0])
    ]
    return tables.markdown(rows, [title or key for key, title in columns])


def _scores(look_up: LookUp, words: Sequence[str]) -> str:
    """`scores SCALE set... -- model...`: PSNR/SSIM of published networks and of the zoo's models, in this order.

    A model of the zoo is `name` or `name=text`, the text being its row's label; a published one `published:name`.
    """
    scale, split = int(words[0]), words.index("--")
    sets, rows = words[1:split], []
    for word in words[split + 1 :]:
        name, _, label = word.partition("=")
        if name.startswith("published:"):
            row = published.row(name.partition(":")[2], scale)
            rows.append({**row, "model": f"{label or row['model']}, published"})
        else:
            known = look_up(f"models/{name}/metrics.json")
            scores = known["bicubic"] if label == "bicubic" else known["sets"]
            parameters = None if label == "bicubic" else known["parameters"]
            rows.append({"model": label or f"`{name}`", "parameters": parameters, **published.score_cells(scores)})
    return tables.markdown(rows, ["model", "parameters", *sets])


def _study(look_up: LookUp, words: Sequence[str]) -> str:
    """`study file set metric [digits [variant...]]`: a study's variants beside their control, with intervals."""
    file, name, metric, digits = (*words, "3")[:4]
    found = look_up(f"{file}#scores/set={name},metric={metric}")
    wanted = words[4:]
    rows = [_judged(row, int(digits)) for row in found["rows"] if not wanted or row["variant"] in wanted]
    columns = ["variant", "seeds", "mean", "difference", "interval", "p (Holm)", "verdict"]
    return tables.markdown(rows, [column for column in columns if any(column in row for row in rows)])


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


BLOCKS: dict[str, Callable[[LookUp, Sequence[str]], str]] = {"rows": _rows, "scores": _scores, "study": _study}


def cards() -> Iterator[tuple[Path, str]]:
    """Path and text of every model card, which is a page generated as a whole."""
    for name in zoo.trained():
        if zoo.metrics(name):
            folder = zoo.folder(name)
            yield folder / "README.md", card(name, read(folder / "recipe.yml"), zoo.metrics(name))


# A number with a unit that is measured, or with two decimals and more.
_FIGURE = re.compile(
    r"[-+]?\b\d[\d,]*(?:\.\d+)?(?:\s*(?:dB|ms|milliseconds|[MGK]B|steps/s|images/s|times|%|seconds|minutes|hours)(?!\w)|x\b)"
    r"|[-+]?\b\d+\.\d{2,}\b"
)
_NOT_PROSE = re.compile(r"```.*?```|<!--= .*?<!--/-->|`[^`\n]*`|[^\n|]*<!--given-->", re.DOTALL)


def typed(page: Page) -> list[str]:
    """Figures of a page that no file stands behind: a line for each, with its number.

    Code and markers are left out, and so is what stands before `<!--given-->` on a line: limits that somebody set, and
    what a source that the page names reports.
    """
    text = page.path.read_text(encoding="utf-8")
    prose = _NOT_PROSE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    return [
        f'{page.path}, line {prose.count(chr(10), 0, found.start()) + 1}: "{found[0]}" is typed by hand'
        for found in _FIGURE.finditer(prose)
    ]


def pages(root: Path) -> list[Page]:
    """Every written page of the project: README.md, docs/ and the cards and studies below models/."""
    found = [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted((root / "models").rglob("*.md"))]
    return [Page(path, root) for path in found if path.is_file()]

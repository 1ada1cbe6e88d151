"""Figures in written pages, filled in from committed files, so that none is typed by hand.

A page marks the place of a figure with a pair of HTML comments, which Markdown does not show:

    <!--= models/edsr_16x8_x2/metrics.json#sets/Set5/psnr : .2f -->37.50<!--/-->

A source is `file#keys`: a JSON or YAML file relative to the project's root, or to the page if it starts with `./`, and
the keys of the value; `name=value` selects the item of a list whose `name` is `value` (several are joined by `,`).
Sources and plain numbers may be combined by ` + `, ` - `, ` * ` and ` / `, from left to right, and grouped by ` ( ` and
` ) `. For a study's results, `file#seeds/set/metric/variant` are the scores of each seed; `file#learning` and
`file#steps` are computed by the adapters for weather and named entities. The format is a Python format, or a word and a
Python format:

    mean .1f         52.9 ± 0.1 for a study's row, or the mean of the scores of each seed
    difference .1f   +1.8 (-6.9 to +10.5): a study's row against the control, with its interval
    p                0.18, p of the paired t test, of a row or of the differences of each seed
    each .1f         3.1, 3.6 and 3.8, the value of each seed; `range .1f` writes 3.1 to 3.8
    ssim             .9587 for 0.9587

`<!--let x2 = models/edsr_16x8_x2/metrics.json#sets-->` defines a short name for the beginning of a source within its
page, so that `x2/Set5/psnr` is the source above; a source with spaces is quoted. If a marker starts with the name of a
function of `srkd.docs.blocks`, that function's Markdown is put between the comments. A marker may span several lines;
in a paragraph it must not start a line, which Markdown would treat as HTML.

`python tools/figures.py` fills in the pages; `make docs` fails if a page differs from its files.
"""

from __future__ import annotations

import json
import operator
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from srkd.commands.cards import card
from srkd.docs.blocks import BLOCKS
from srkd.docs.sources import Sources
from srkd.docs.study_values import COMPUTED, written
from srkd.errors import SrkdError, unknown
from srkd.networks import zoo
from srkd.training.recipe import read

_MARKER = re.compile(r"<!--= (?P<what>(?:(?!-->).)*?)\s-->(?P<text>.*?)<!--/-->", re.DOTALL)
_SHORT_NAME = re.compile(r"<!--let (?P<name>\w+) = (?P<source>[^\n]+?)-->")
_EXPRESSION = "a figure is a source, or sources and numbers combined by +, -, *, / and parentheses"
_OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


@dataclass
class Page:
    """A Markdown file with figures.

    Args:
        path: the file.
        root: the project's root, to which sources are relative.
    """

    path: Path
    root: Path
    _files: dict[Path, Any] = field(default_factory=dict)

    def filled(self) -> str:
        """The page's text with all figures filled in from their files.

        Raises:
            SrkdError: a marker with an invalid file, key or format; the message names the marker and its line.
        """
        text = self.path.read_text(encoding="utf-8")
        names = dict(_SHORT_NAME.findall(text))

        def fill(found: re.Match[str]) -> str:
            try:
                value = self._value(found["what"], names)
            except SrkdError as error:
                line = text.count("\n", 0, found.start()) + 1
                raise SrkdError(f"{self.path}, line {line}: {_short(found['what'])}: {error}") from error
            return f"{found[0][: found.start('text') - found.start()]}{value}<!--/-->"

        return _MARKER.sub(fill, text)

    def stale(self) -> list[str]:
        """One line for each figure that differs from its file."""
        text, wrong = self.path.read_text(encoding="utf-8"), []
        for current, correct in zip(_MARKER.finditer(text), _MARKER.finditer(self.filled()), strict=True):
            if current["text"] != correct["text"]:
                line, what = text.count("\n", 0, current.start()) + 1, _short(current["what"])
                wrong.append(f"{self.path}, line {line}: {what}: {_difference(current['text'], correct['text'])}")
        return wrong

    def _value(self, what: str, names: Mapping[str, str]) -> str:
        words = shlex.split(what)
        if words and words[0] in BLOCKS:
            sources = Sources(lambda source: self._look_up(source, names), lambda figure: self._figure(figure, names))
            return f"\n\n{BLOCKS[words[0]](sources, words[1:])}\n\n"
        return self._figure(what, names)

    def _figure(self, what: str, names: Mapping[str, str]) -> str:
        expression, _, form = what.partition(" : ")
        words = shlex.split(expression)
        value = self._evaluate(words, names)
        if words:
            raise SrkdError(f'"{words[0]}": {_EXPRESSION}')
        return written(value, form.strip())

    def _evaluate(self, words: list[str], names: Mapping[str, str]) -> Any:
        """Evaluate the words up to the end or a closing parenthesis, and remove them from the list."""
        value = self._operand(words, names)
        while words and words[0] != ")":
            if (sign := words.pop(0)) not in _OPERATORS:
                raise SrkdError(f'"{sign}": {_EXPRESSION}')
            value = _OPERATORS[sign](value, self._operand(words, names))
        return value

    def _operand(self, words: list[str], names: Mapping[str, str]) -> Any:
        if not words:
            raise SrkdError(_EXPRESSION)
        if (word := words.pop(0)) != "(":
            return self._look_up(word, names)
        value = self._evaluate(words, names)
        if not words:
            raise SrkdError(f'")" not found: {_EXPRESSION}')
        words.pop(0)
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
            if key in COMPUTED and isinstance(value, Mapping) and "runs" in value:
                value = self._computed(path, key)
            else:
                value = _item(value, key)
        return value

    def _computed(self, path: Path, key: str) -> Any:
        name = path / key  # a key of the cache, not an existing file
        if name not in self._files:
            self._files[name] = COMPUTED[key](path, self._files[path])
        return self._files[name]


def _short(what: str) -> str:
    """A marker's text shortened to one line, for messages."""
    line = " ".join(what.split())
    return line if len(line) <= 100 else f"{line[:97]}..."


def _read(path: Path) -> Any:
    if not path.is_file():
        raise SrkdError(f"{path}: not found")
    text = path.read_text(encoding="utf-8")
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


def _item(value: Any, key: str) -> Any:
    """Resolve one key: of a mapping, an index of a list, or the single item of a list that `name=value` selects."""
    if isinstance(value, Mapping):
        if key not in value:
            raise unknown("key", key, list(value))
        return value[key]
    if isinstance(value, (list, np.ndarray)) and key.isdecimal() and int(key) < len(value):
        return value[int(key)]
    if not isinstance(value, list):
        raise SrkdError(f'"{key}": a value of type {type(value).__name__} has no keys')
    wanted = dict(part.partition("=")[::2] for part in key.split(","))
    found = [item for item in value if all(str(item.get(name)) == text for name, text in wanted.items())]
    if len(found) != 1:
        raise SrkdError(f'"{key}": {len(found)} items of the list match, expected one')
    return found[0]


def _difference(current: str, correct: str) -> str:
    lines = list(zip(current.splitlines() or [""], correct.splitlines() or [""], strict=False))
    old, new = next(((a, b) for a, b in lines if a != b), (current, correct))
    return f"the page has {old.strip()!r}, its files have {new.strip()!r}"


def cards() -> Iterator[tuple[Path, str]]:
    """Path and text of every model card; these are generated completely."""
    for name in zoo.trained():
        if zoo.metrics(name):
            folder = zoo.folder(name)
            yield folder / "README.md", card(name, read(folder / "recipe.yml"), zoo.metrics(name))


def pages(root: Path) -> list[Page]:
    """All written pages of the project: README.md, docs/, and cards and studies in models/."""
    found = [root / "README.md", *sorted((root / "docs").rglob("*.md")), *sorted((root / "models").rglob("*.md"))]
    return [Page(path, root) for path in found if path.is_file()]

"""Readers of named-entity corpora: KMOU, KLUE-NER, generic CoNLL, the Modu corpus."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from srkd.adapters.ner.tags import OUTSIDE, Sentence, parse, to_bio
from srkd.errors import SrkdError, unknown
from srkd.files.atomic import printable_path


@dataclass
class TaggedCorpus:
    """Sentences, and notices about what was repaired while reading."""

    sentences: list[Sentence]
    notices: list[str] = field(default_factory=list)


@dataclass
class _Raw:
    """A sentence as read from a file; `lines` has the line number of each tag."""

    tokens: list[str]
    tags: list[str]
    lines: list[int]


def read(path: Path, format: str) -> TaggedCorpus:
    """Read a file in the format `kmou`, `klue`, `conll` or `modu`; tags are converted to BIO, empty sentences skipped.

    Raises:
        SrkdError: the file cannot be read or is not UTF-8, a tag is invalid, or the numbers of tokens and tags differ
            (each with the line); there is no sentence.
    """
    if format not in _READERS:
        raise SrkdError(f"data.format: {unknown('layout', format, _READERS)}")
    sentences, repaired = [], []
    for raw in _READERS[format](path):
        try:
            tags, indices = to_bio(raw.tags)
        except ValueError as error:
            raise SrkdError(f"{printable_path(path)}, line {_invalid_line(raw)}: {error}") from error
        repaired += [raw.lines[index] for index in indices]
        sentences.append(Sentence(raw.tokens, tags))
    if not sentences:
        raise SrkdError(f"{printable_path(path)}: no sentences found, read as {format}")
    notices = []
    if repaired:
        which = f"{len(repaired):,} entities begin" if len(repaired) > 1 else "an entity begins"
        notices.append(f"{printable_path(path)}: {which} with I (first in line {repaired[0]}), read as B")
    return TaggedCorpus(sentences, notices)


def _invalid_line(raw: _Raw) -> int:
    """Line number of the first invalid tag."""
    for tag, line in zip(raw.tags, raw.lines, strict=True):
        try:
            parse(tag)
        except ValueError:
            return line
    raise AssertionError("no invalid tag")


def _lines(path: Path) -> list[str]:
    """Lines without their endings. Only line feeds separate lines, since other white space may be a token."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SrkdError(f"{printable_path(path)}: cannot read the corpus: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SrkdError(
            f"{printable_path(path)}, line {line}: not UTF-8; convert the file (from CP949, perhaps) to UTF-8"
        ) from error
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _split(line: str) -> list[str]:
    """The parts of a line between spaces and tabs. Other white space, such as U+3000, may be in a token."""
    return [part for part in re.split("[ \t]+", line) if part] if line.strip() else []


def _kmou(path: Path) -> Iterator[_Raw]:
    """One sentence per line, morphemes separated by spaces, in `*.words.txt`; tags in `*.tags.txt` beside it."""
    if "words" not in path.name:
        raise SrkdError(
            f'{printable_path(path)}: kmou needs a file with "words" in its name, and one with "tags" beside it'
        )
    beside = path.with_name(path.name.replace("words", "tags"))
    words, tags = _lines(path), _lines(beside)
    if len(words) != len(tags):
        raise SrkdError(f"{printable_path(path)}: {len(words):,} lines, but {beside.name} has {len(tags):,}")
    for number, (left, right) in enumerate(zip(words, tags, strict=True), 1):
        tokens, marks = _split(left), _split(right)
        if len(tokens) != len(marks):
            raise SrkdError(
                f"{printable_path(path)}, line {number}: {len(tokens)} tokens, but {len(marks)} tags in {beside.name}"
            )
        if tokens:
            yield _Raw(tokens, marks, [number] * len(marks))


def _klue(path: Path) -> Iterator[_Raw]:
    """One character, a tab and its tag per line; spaces are tokens, `##` starts a comment, empty lines separate."""
    return _rows(path, lambda line: line.startswith("##"), lambda line: line.split("\t") if line else [])


def _conll(path: Path) -> Iterator[_Raw]:
    """One token per line: the token in the first column, the tag in the last, separated by spaces or tabs."""
    return _rows(path, _is_comment, _split)


def _is_comment(line: str) -> bool:
    """Whether a line is a comment: `-DOCSTART-`, or one that starts with `#` and does not end with a tag."""
    if not line.startswith("#"):
        return line.startswith("-DOCSTART-")
    try:
        parse(_split(line)[-1])
    except ValueError:
        return True
    return False


def _rows(path: Path, is_comment: Callable[[str], bool], columns: Callable[[str], list[str]]) -> Iterator[_Raw]:
    """Sentences with one token per line, separated by empty lines."""
    sentence = _Raw([], [], [])
    for number, line in enumerate([*_lines(path), ""], 1):
        if is_comment(line):
            continue
        parts = columns(line)
        if len(parts) == 1:
            raise SrkdError(f'{printable_path(path)}, line {number}: "{line}" has no tag: expected a token and its tag')
        if parts:
            sentence.tokens.append(parts[0])
            sentence.tags.append(parts[-1])
            sentence.lines.append(number)
        elif sentence.tokens:
            yield sentence
            sentence = _Raw([], [], [])


def _modu(path: Path) -> Iterator[_Raw]:
    """JSON of the Modu corpus: characters of each sentence's `form` as tokens, entities from `NE` (`begin`, `end`).

    The type of an entity is the first two letters of its label: PS of PS_NAME, LC of LCP_COUNTRY.
    """
    try:
        documents = json.loads("\n".join(_lines(path)))["document"]
        sentences = [sentence for document in documents for sentence in document["sentence"]]
    except (ValueError, KeyError, TypeError) as error:
        raise SrkdError(f"{printable_path(path)}: not the JSON of the Modu named-entity corpus ({error!r})") from error
    for sentence in sentences:
        where = f"{printable_path(path)}, sentence {sentence.get('id', '?') if isinstance(sentence, dict) else '?'}"
        try:
            tokens, tags = list(sentence["form"]), _spans(sentence)
        except (KeyError, TypeError, ValueError) as error:
            raise SrkdError(f"{where}: invalid entities ({error})") from error
        if tokens:
            yield _Raw(tokens, tags, [0] * len(tags))


def _spans(sentence: dict[str, Any]) -> list[str]:
    """BIO tags of the characters of a sentence."""
    form, tags = sentence["form"], [OUTSIDE] * len(sentence["form"])
    for entity in sentence.get("NE", []):
        begin, end = entity["begin"], entity["end"]
        if not 0 <= begin < end <= len(form) or form[begin:end] != entity["form"]:
            raise ValueError(f'"{entity["form"]}" is not at {begin} to {end}')
        if any(tag != OUTSIDE for tag in tags[begin:end]):
            raise ValueError(f'"{entity["form"]}" overlaps another entity')
        kind = entity["label"][:2]
        tags[begin:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - begin - 1)]
    return tags


_READERS: dict[str, Callable[[Path], Iterator[_Raw]]] = {"kmou": _kmou, "klue": _klue, "conll": _conll, "modu": _modu}

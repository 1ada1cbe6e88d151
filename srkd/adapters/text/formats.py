"""Labelled documents from what they come in: 20 Newsgroups' archive, a CSV file, or a folder of text files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from srkd.adapters.text import newsgroups
from srkd.errors import SrkdError

SPLITS = ("train", "test")
COLUMNS = ("text", "label", "split")


@dataclass
class Documents:
    """Texts and the name of each one's class."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def add(self, text: str, label: str) -> None:
        self.texts.append(text)
        self.labels.append(label)


def read(root: Path, encodings: Sequence[str] = ("utf-8",), remove: Collection[str] = ()) -> dict[str, Documents]:
    """The documents of `train` and `test`.

    Args:
        root: a CSV file with a head line and the columns text, label and split; a folder of `<split>/<class>/*`; or
            20news-bydate.tar.gz.
        encodings: tried one after the other, for each file of a folder and each line of a CSV file.
        remove: parts of a letter to take away: headers, footers, quotes.

    Raises:
        SrkdError: with file and line: bytes of no such encoding, a column, class or split that is missing, a label that
            occurs in the test documents alone.
    """
    if root.is_dir():
        found = _folder(root, encodings)
    elif root.suffix.lower() == ".csv":
        found = _table(root, encodings)
    else:
        found = {
            split: Documents(*map(list, zip(*((t, c) for _, t, c in newsgroups.read(root, split)), strict=True)))
            for split in SPLITS
        }
    for split, documents in found.items():
        if not documents.texts:
            raise SrkdError(f'{root}: no document of the split "{split}"')
        documents.texts = [newsgroups.strip(text, remove) for text in documents.texts]
    strange = sorted(set(found["test"].labels) - set(found["train"].labels))
    if strange:
        raise SrkdError(f'{root}: the label "{strange[0]}" occurs in the test documents alone: nothing can learn it')
    return found


def decode(raw: bytes, encodings: Sequence[str], where: str) -> str:
    """Text in the first of these encodings that fits, without a byte-order mark.

    Raises:
        SrkdError: none fits.
    """
    for encoding in encodings:
        try:
            return raw.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError:
            continue
    raise SrkdError(f"{where}: not {' or '.join(encodings)}: add its encoding to data.encodings")


def _folder(root: Path, encodings: Sequence[str]) -> dict[str, Documents]:
    found = {split: Documents() for split in SPLITS}
    for split, documents in found.items():
        for path in sorted((root / split).glob("*/*")):
            if path.is_file():
                try:
                    raw = path.read_bytes()
                except OSError as error:
                    raise SrkdError(f"{path}: cannot be read: {error.strerror}") from error
                documents.add(decode(raw, encodings, str(path)), path.parent.name)
    return found


def _table(path: Path, encodings: Sequence[str]) -> dict[str, Documents]:
    csv.field_size_limit(sys.maxsize)  # the default refuses documents of 128 KiB
    found = {split: Documents() for split in SPLITS}
    rows = csv.DictReader(_lines(path, encodings), strict=True)
    try:
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise SrkdError(f"{path}, line 1: no column {', '.join(missing)}: the head line must name text,label,split")
        for row in rows:
            text, label, split = (row[column] for column in COLUMNS)
            if not label or split not in SPLITS or text is None:
                raise SrkdError(f"{path}, line {rows.line_num}: needs a text, a label, and train or test as its split")
            found[split].add(text, label)
    except csv.Error as error:
        raise SrkdError(f"{path}, line {rows.reader.line_num}: {error}") from error
    return found


def _lines(path: Path, encodings: Sequence[str]) -> Iterator[str]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                yield decode(line, encodings, f"{path}, line {number}")
    except OSError as error:
        raise SrkdError(f"{path}: cannot be read: {error.strerror}") from error

"""Readers of labelled documents: the 20 Newsgroups archive, a CSV file, or a folder of text files."""

from __future__ import annotations

import csv
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from srkd.adapters.data import check_header
from srkd.adapters.text import newsgroups
from srkd.errors import SrkdError

SPLITS = ("train", "test")
COLUMNS = ("text", "label", "split")


@dataclass
class Documents:
    """Texts and their class names."""

    texts: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)

    def add(self, text: str, label: str) -> None:
        self.texts.append(text)
        self.labels.append(label)


def read(root: Path, encodings: Sequence[str] = ("utf-8",), remove: Collection[str] = ()) -> dict[str, Documents]:
    """Read the documents of `train` and `test`.

    Args:
        root: a CSV file with a header and the columns text, label and split; a folder of `<split>/<class>/*`, hidden
            files and folders left out; or 20news-bydate.tar.gz.
        encodings: tried in order, for each file of a folder and each line of a CSV file.
        remove: parts of a message to remove: headers, footers, quotes.

    Raises:
        SrkdError: (with file and line) undecodable bytes, a missing column, class or split, more cells than the header
            has, or a label that occurs only in the test documents.
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
    unseen = sorted(set(found["test"].labels) - set(found["train"].labels))
    if unseen:
        raise SrkdError(f'{root}: the label "{unseen[0]}" occurs only in the test documents')
    return found


def decode(raw: bytes, encodings: Sequence[str], where: str) -> str:
    """Decode with the first of these encodings that succeeds, and remove a byte-order mark.

    Raises:
        SrkdError: no encoding succeeds.
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
        for path in sorted((root / split).glob("[!.]*/[!.]*")):
            if path.is_file():
                try:
                    raw = path.read_bytes()
                except OSError as error:
                    raise SrkdError(f"{path}: cannot be read: {error.strerror}") from error
                documents.add(decode(raw, encodings, str(path)), path.parent.name)
    return found


def _table(path: Path, encodings: Sequence[str]) -> dict[str, Documents]:
    csv.field_size_limit(sys.maxsize)  # the default limit is 128 KiB per field
    found = {split: Documents() for split in SPLITS}
    rows = csv.DictReader(_lines(path, encodings), strict=True)
    try:
        missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
        if missing:
            raise SrkdError(f"{path}, line 1: no column {', '.join(missing)}: the header must have text,label,split")
        check_header(path, rows.fieldnames or (), COLUMNS)
        for row in rows:
            text, label, split = (row[column] for column in COLUMNS)
            if not label or split not in SPLITS or text is None:
                raise SrkdError(f"{path}, line {rows.line_num}: needs a text, a label, and the split train or test")
            if None in row:
                cells = len(rows.fieldnames or ())
                raise SrkdError(
                    f"{path}, line {rows.line_num}: more cells than the {cells} of the header: quote a text with commas"
                )
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

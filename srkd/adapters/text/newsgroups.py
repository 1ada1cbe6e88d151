"""20 Newsgroups, split by date, read directly from its archive."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from srkd.errors import SrkdError

# The documents are from 1993: a few are not valid UTF-8, and Latin-1 decodes every byte.
ENCODING = "latin-1"
# By a part of the group's name, the first that matches: http://qwone.com/~jason/20Newsgroups/
_TOPICS = {
    "religion": "religion",
    "atheism": "religion",
    "politics": "politics",
    "forsale": "forsale",
    "comp.": "computers",
    "rec.": "recreation",
    "sci.": "science",
}
QUOTED = re.compile(r"^\s*[>|]|^In article|^Quoted from|(writes|wrote|says|said)( in.*)?:\s*$")


def without_headers(text: str) -> str:
    """The document after its first empty line; the whole document without one."""
    _, gap, body = text.partition("\n\n")
    return body if gap else text


def without_quotes(text: str) -> str:
    """The document without quoted lines and lines that introduce a quotation."""
    return "\n".join(line for line in text.split("\n") if not QUOTED.search(line))


def without_footer(text: str) -> str:
    """The document without the text after its last empty or dashed line, mostly a signature; unchanged without one."""
    lines = text.strip().split("\n")
    for place in range(len(lines) - 1, 0, -1):
        if not lines[place].strip().strip("-"):
            return "\n".join(lines[:place])
    return text


REMOVERS = {"headers": without_headers, "footers": without_footer, "quotes": without_quotes}


def strip(text: str, remove: Collection[str]) -> str:
    """The document without the parts in `remove`: headers, footers, quotes."""
    for part, remover in REMOVERS.items():
        text = remover(text) if part in remove else text
    return text


def read(path: Path, split: str) -> list[tuple[str, str, str]]:
    """Read the documents of one split, sorted by name: (group/number, text, group).

    Args:
        path: 20news-bydate.tar.gz.
        split: "train" or "test".

    Raises:
        SrkdError: not a readable archive, or no documents of this split.
    """
    found = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                parts = PurePosixPath(member.name).parts[-3:]
                stream = archive.extractfile(member) if member.isfile() and len(parts) == 3 else None
                if stream is None or parts[0] != f"20news-bydate-{split}":
                    continue
                text = stream.read().decode(ENCODING).replace("\r\n", "\n")
                found.append((f"{parts[1]}/{parts[2]}", text, parts[1]))
    except (OSError, EOFError, tarfile.TarError) as error:
        raise SrkdError(f"{path}: not a readable archive ({error}): give 20news-bydate.tar.gz") from error
    if not found:
        raise SrkdError(f'{path}: no document of the split "{split}": give 20news-bydate.tar.gz')
    return sorted(found)


def family(group: str) -> str:
    """The topic of a group, of the six that the data set's page lists; of any other group, the prefix of its name.

    >>> family("comp.graphics"), family("alt.atheism"), family("talk.politics.guns"), family("misc.forsale")
    ('computers', 'religion', 'politics', 'forsale')
    """
    return next((topic for part, topic in _TOPICS.items() if part in group), group.partition(".")[0])

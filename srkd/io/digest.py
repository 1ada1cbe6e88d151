"""Checksums of files, and lists of them in the form of `sha256sum`."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def parse_sums(text: str) -> dict[str, str]:
    """{name: checksum} of lines "checksum  name".

    Raises:
        ValueError: a line of another form.
    """
    sums = {}
    for line in filter(None, text.splitlines()):
        checksum, _, name = line.partition("  ")
        if len(checksum) != 64 or not name:
            raise ValueError(f'not a line of checksum and name: "{line}"')
        sums[name.removeprefix("./")] = checksum
    return sums

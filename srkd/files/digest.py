"""Checksums of files, and lists of them in the format of `sha256sum`."""

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


_PIECES, _PIECE = 256, 4096


def sampled_sha256(path: Path) -> str:
    """The SHA-256, in hexadecimal, of a file's size and of 256 pieces of 4 KiB spread evenly over it, ends included.

    Reads 1 MiB at most, whatever the file's size. Detects truncated, zero-filled or exchanged files, but not every
    change of a few bytes.
    """
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        if size <= _PIECES * _PIECE:
            digest.update(file.read())
            return digest.hexdigest()
        for number in range(_PIECES):
            file.seek((size - _PIECE) * number // (_PIECES - 1))
            digest.update(file.read(_PIECE))
    return digest.hexdigest()


def parse_sums(text: str) -> dict[str, str]:
    """{name: checksum} from lines "checksum  name".

    Raises:
        ValueError: a line in another format.
    """
    sums = {}
    for line in filter(None, text.splitlines()):
        checksum, _, name = line.partition("  ")
        if len(checksum) != 64 or not name:
            raise ValueError(f'not a line of checksum and name: "{line}"')
        sums[name.removeprefix("./")] = checksum
    return sums

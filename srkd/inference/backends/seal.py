"""Digests inside an exported file, by which a change of any byte of it, or of a file beside it, is found.

A seal is text in the file's metadata: `srkd-sha256:.bin:<64 digits>` is the SHA-256 of the file beside it with that
suffix, `srkd-sha256:self:<64 digits>` that of the file itself with these last 64 digits replaced by zeros. So it
covers weights, graph and metadata in any format that stores text as it is. It finds damage; it does not prove who wrote
a file.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.files.bounded import read_bytes
from srkd.files.digest import file_sha256

_MARK, _SELF, _OPEN = "srkd-sha256", "self", "0" * 64
_SEAL = re.compile(rb"srkd-sha256:(self|\.\w{1,8}):([0-9a-f]{64})")
_MOST = (1 << 31) - 1  # bytes: protobuf's limit


def opened(beside: Sequence[str] = ()) -> list[str]:
    """Seals without digests, for the metadata of a file: of itself, and of those beside it with these suffixes."""
    return [f"{_MARK}:{part}:{_OPEN}" for part in (*beside, _SELF)]


def close(path: Path) -> None:
    """Fill in the digests of the seals in a file that was just written, if it has any."""
    content = path.read_bytes()
    for suffix, at in _places(content):
        if suffix != _SELF:
            content = _filled(content, at, file_sha256(path.with_suffix(suffix)))
    for suffix, at in _places(content):
        if suffix == _SELF:
            path.write_bytes(_filled(content, at, hashlib.sha256(content).hexdigest()))


def check(path: Path) -> bool:
    """Whether a file has a seal of itself.

    Raises:
        SrkdError: the file, or one beside it, was changed or is incomplete; or it is too large to be an exported file.
    """
    try:
        content = read_bytes(path, _MOST)
    except ValueError as error:
        raise SrkdError(f"{printable_path(path)}: {error}") from error
    places = _places(content)
    for suffix, at in places:
        file, expected = path, content[at : at + len(_OPEN)].decode()
        if suffix == _SELF:
            found = hashlib.sha256(_filled(content, at, _OPEN)).hexdigest()
        else:
            file = path.with_suffix(suffix)
            if not file.is_file():
                raise SrkdError(f"{printable_path(file)}: not found; {path.name} needs it")
            found = file_sha256(file)
        if found != expected:
            raise SrkdError(f"{printable_path(file)}: changed or incomplete: its digest is not that in {path.name}")
    return any(suffix == _SELF for suffix, _ in places)


def _places(content: bytes) -> list[tuple[str, int]]:
    """The suffix of each seal in a file, and where its digits start."""
    return [(found[1].decode(), found.start(2)) for found in _SEAL.finditer(content)]


def _filled(content: bytes, at: int, digits: str) -> bytes:
    return content[:at] + digits.encode() + content[at + len(digits) :]

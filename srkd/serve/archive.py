"""A zip archive of files, made while it is sent."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

_BLOCK = 1 << 20


class _Sink:
    """A file for zipfile, which cannot seek in it: what is written is taken out by `taken`."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing is buffered."""

    def taken(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def zipped(files: Sequence[tuple[Path, str]]) -> Iterator[bytes]:
    """The bytes of an archive of files under these names, not compressed, in constant memory.

    Equal names get a number; a file that is removed meanwhile is left out.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for (path, _), name in zip(files, _different([name for _, name in files]), strict=True):
            try:
                source = path.open("rb")
            except FileNotFoundError:
                continue
            with source, archive.open(zipfile.ZipInfo.from_file(path, name, strict_timestamps=False), "w") as entry:
                while block := source.read(_BLOCK):
                    entry.write(block)
                    yield sink.taken()
        yield sink.taken()
    yield sink.taken()


def _different(names: Sequence[str]) -> list[str]:
    """The names, repeated ones as photo_x2 (2).png."""
    found: set[str] = set()
    result = []
    for name in names:
        stem, suffix = PurePath(name).stem, PurePath(name).suffix
        number, free = 1, name
        while free.lower() in found:
            number += 1
            free = f"{stem} ({number}){suffix}"
        found.add(free.lower())
        result.append(free)
    return result

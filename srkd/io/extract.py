"""Archives from elsewhere, taken as hostile: nothing leaves the folder, nothing is linked, nothing explodes."""

from __future__ import annotations

import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from srkd.errors import SrkdError
from srkd.io.atomic import scratch, shown

_MAX_FILES = 100_000
_MAX_RATIO = 100
_ALWAYS_FINE = 64 * 2**20
_BROKEN = (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    open: Callable[[], IO[bytes]]


def extract(archive: Path, folder: Path, suffixes: tuple[str, ...] | None = None) -> list[Path]:
    """Unpack a zip or tar (plain, gzip, bzip2, xz) archive into the new folder `folder`; returns the files' paths.

    `suffixes`: only files that end so (in lower case) are written. The folder appears when all is there.

    Raises:
        SrkdError: no archive, or a damaged or encrypted one; a member outside the folder (absolute, or with ".."), a
            link, a device, two members of one name; more than 100,000 members, or more than 100 times the archive's
            size once unpacked (64 MB are always fine); a full disk. Nothing is left behind.
    """
    try:
        with scratch(folder.parent) as temporary:
            with _opened(archive) as members:
                written = _write(members, temporary, max(_ALWAYS_FINE, _MAX_RATIO * archive.stat().st_size), suffixes)
            temporary.rename(folder)
    except _BROKEN as error:
        raise SrkdError(f"{shown(archive)}: a damaged archive, or one that cannot be read ({error})") from error
    except _Hostile as error:
        raise SrkdError(f"{shown(archive)}: refused, since it {error}; nothing was unpacked") from error
    except OSError as error:
        raise SrkdError(f"cannot unpack {shown(archive)} into {shown(folder)}: {error.strerror or error}") from error
    return [folder / path for path in written]


class _Hostile(Exception):
    """What an archive does that none should."""


class _opened:
    """The members of an archive of either kind, while it is open."""

    def __init__(self, archive: Path) -> None:
        self._path = archive
        self._file: Any = None

    def __enter__(self) -> Iterator[_Member]:
        if zipfile.is_zipfile(self._path):
            self._file = zipfile.ZipFile(self._path)
            return self._zip(self._file)
        self._file = tarfile.open(self._path)
        return self._tar(self._file)

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    @staticmethod
    def _zip(file: zipfile.ZipFile) -> Iterator[_Member]:
        for info in file.infolist():
            mode = info.external_attr >> 16
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _Hostile(f"holds a link or device ({info.filename!r})")
            if info.flag_bits & 1:
                raise _Hostile("is encrypted")
            if not info.is_dir():
                yield _Member(info.filename, info.file_size, lambda i=info: file.open(i))  # type: ignore[misc]

    @staticmethod
    def _tar(file: tarfile.TarFile) -> Iterator[_Member]:
        for info in file:
            if info.isdir():
                continue
            if not info.isreg():
                raise _Hostile(f"holds a link or device ({info.name!r})")
            yield _Member(info.name, info.size, lambda i=info: _present(file.extractfile(i)))  # type: ignore[misc]


def _present(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("a member without content")
    return stream


def _write(members: Iterator[_Member], folder: Path, limit: int, suffixes: tuple[str, ...] | None) -> list[Path]:
    written: dict[PurePosixPath, None] = {}
    total = 0
    for number, member in enumerate(members, 1):
        if number > _MAX_FILES:
            raise _Hostile(f"holds more than {_MAX_FILES:,} files")
        path = _inside(member.name)
        total += member.size
        if total > limit:
            raise _Hostile(f"unpacks to more than {limit:,} bytes, over {_MAX_RATIO} times its own size")
        if suffixes is not None and path.suffix.lower() not in suffixes:
            continue
        if path in written:
            raise _Hostile(f"holds {member.name!r} twice")
        written[path] = None
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, (folder / path).open("xb") as target:
            _copy(source, target, member)
    return [Path(path) for path in written]


def _copy(source: IO[bytes], target: IO[bytes], member: _Member) -> None:
    """Copy what the member's header promises, and no more: headers can lie."""
    left = member.size
    while block := source.read(1 << 20):
        left -= len(block)
        if left < 0:
            raise _Hostile(f"holds more than its header says ({member.name!r})")
        target.write(block)
    if left:
        raise ValueError(f"{member.name!r} is cut short")


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0] or "\0" in name:
        raise _Hostile(f"would write outside its folder ({name!r})")
    return path

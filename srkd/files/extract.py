"""Safe extraction of untrusted archives: no path outside the folder, no links, bounded size.

tarfile's data filter judges the members of tar files. It knows neither zip files nor limits of number and size, allows
links, and makes absolute paths relative; the checks here are for these.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, scratch

_MAX_MEMBERS = 100_000
_MAX_INDEX = 64 * 2**20  # bytes of a zip file's central directory, which is read whole
_END, _BEFORE_END = 22, 56 + 20  # bytes of a zip's end record; of the ZIP64 end record and its locator
_CHUNK = 1 << 16  # bytes read at once; a tar header asks for more only for a member name or attributes of that size
_MAX_RATIO = 100
_ALWAYS_ALLOWED = 64 * 2**20
_COMPRESSED: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    open: Callable[[], IO[bytes]]


def extract(archive: Path, folder: Path, suffixes: tuple[str, ...] | None = None) -> list[Path]:
    """Unpack a zip or tar (plain, gzip, bzip2, xz) archive into the new folder `folder`; returns the files' paths.

    `suffixes`: only files with these suffixes (compared in lower case) are written. The folder appears when all files
    are written.

    Raises:
        SrkdError: not an archive, or a damaged or encrypted one; a member outside the folder (absolute, or with ".."),
            a link, a device, two members of one name, a name of more than 64 KB; more than 100,000 members, or an
            unpacked size of more than 100 times the archive's (64 MB are always allowed), counting skipped files and
            the archive's headers; a full disk. Nothing is left behind.
    """
    try:
        limit = max(_ALWAYS_ALLOWED, _MAX_RATIO * archive.stat().st_size)
        with scratch(folder.parent) as temporary:
            with _opened(archive, limit, folder) as members:
                written = _write(members, temporary, limit, suffixes)
            temporary.rename(folder)
    except _BROKEN as error:
        raise SrkdError(f"{printable_path(archive)}: a damaged or unsupported archive ({error})") from error
    except _Hostile as error:
        raise SrkdError(f"{printable_path(archive)}: rejected, because it {error}; nothing was unpacked") from error
    except OSError as error:
        raise SrkdError(
            f"cannot unpack {printable_path(archive)} into {printable_path(folder)}: {error.strerror or error}"
        ) from error
    return [folder / path for path in written]


class _Hostile(Exception):
    """A property of an archive that makes it unsafe to unpack."""


def _too_large(limit: int) -> _Hostile:
    return _Hostile(f"unpacks to more than {limit:,} bytes, over {_MAX_RATIO} times its own size")


class _Bounded:
    """A limited stream of a decompressed tar file, because `tarfile` reads as much as a header states."""

    def __init__(self, stream: Any, limit: int) -> None:
        self._stream, self._limit = stream, limit
        self.tell = stream.tell

    def read(self, size: int) -> bytes:
        if size > _CHUNK:
            raise _Hostile(f"gives a member a name or attributes of {size:,} bytes")
        self._check(self.tell() + size)
        return bytes(self._stream.read(size))

    def seek(self, place: int, whence: int = 0) -> int:
        self._check(place if whence == 0 else 0)  # seeking decompresses up to that offset
        return int(self._stream.seek(place, whence))

    def _check(self, end: int) -> None:
        if end > self._limit + _MAX_MEMBERS * tarfile.BLOCKSIZE:  # one header per member
            raise _too_large(self._limit)


@contextmanager
def _opened(archive: Path, limit: int, folder: Path) -> Iterator[Iterator[_Member]]:
    """The members of an open zip or tar archive."""
    if zipfile.is_zipfile(archive):
        _check_index(archive)
        with zipfile.ZipFile(archive) as file:
            yield _of_zip(file)
        return
    with archive.open("rb") as raw:
        start = raw.read(6)
    opener = next((opener for magic, opener in _COMPRESSED.items() if start.startswith(magic)), None)
    with (
        opener(archive) if opener else archive.open("rb") as stream,
        tarfile.open(fileobj=_Bounded(stream, limit), mode="r:") as tar,  # type: ignore[call-overload]
    ):
        yield _of_tar(tar, folder)


def _of_zip(file: zipfile.ZipFile) -> Iterator[_Member]:
    _check_count(len(file.infolist()))
    for info in file.infolist():
        mode = info.external_attr >> 16
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise _Hostile(f"contains a link or device ({info.filename!r})")
        if info.flag_bits & 1:
            raise _Hostile("is encrypted")
        if not info.is_dir():
            yield _Member(info.filename, info.file_size, lambda i=info: file.open(i))  # type: ignore[misc]


def _of_tar(file: tarfile.TarFile, folder: Path) -> Iterator[_Member]:
    for number, info in enumerate(file, 1):
        _check_count(number)
        if info.isdir():
            continue
        if not info.isreg():
            raise _Hostile(f"contains a link or device ({info.name!r})")
        _inside(info.name)  # a shorter message than the filter's
        try:
            tarfile.data_filter(info, str(folder))
        except tarfile.FilterError as error:
            raise _Hostile(f"contains a member that tar's data filter rejects ({error})") from error
        yield _Member(info.name, info.size, lambda i=info: _present(file.extractfile(i)))  # type: ignore[misc]


def _check_count(number: int) -> None:
    if number > _MAX_MEMBERS:
        raise _Hostile(f"contains more than {_MAX_MEMBERS:,} members")


def _check_index(path: Path) -> None:
    """Raise if a zip file's central directory, which is read whole, is too large.

    Its size is in the end record or, if there is one with its locator right before that, in the ZIP64 end record
    (APPNOTE 4.3). They are looked for where zipfile does: the signature may also be in a comment or a field.
    """
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - (1 << 16) - _END - _BEFORE_END))
        tail = file.read()
    without_comment = tail[-_END:].startswith(b"PK\5\6") and tail.endswith(b"\0\0")
    at = len(tail) - _END if without_comment else tail.rfind(b"PK\5\6")
    (size,) = struct.unpack_from("<L", tail, at + 12)
    before = tail[max(0, at - _BEFORE_END) : at]
    if before.startswith(b"PK\6\6") and before[56:].startswith(b"PK\6\7"):
        (size,) = struct.unpack_from("<Q", before, 40)
    if size > _MAX_INDEX:
        raise _Hostile(f"has a central directory of {size:,} bytes")


def _present(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("a member without content")
    return stream


def _write(members: Iterator[_Member], folder: Path, limit: int, suffixes: tuple[str, ...] | None) -> list[Path]:
    written: dict[PurePosixPath, None] = {}
    total = 0
    for member in members:
        path = _inside(member.name)
        total += member.size
        if total > limit:
            raise _too_large(limit)
        if suffixes is not None and path.suffix.lower() not in suffixes:
            continue
        if path in written:
            raise _Hostile(f"contains {member.name!r} twice")
        written[path] = None
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, (folder / path).open("xb") as target:
            _copy(source, target, member)
    return [Path(path) for path in written]


def _copy(source: IO[bytes], target: IO[bytes], member: _Member) -> None:
    """Copy exactly as many bytes as the member's header states; headers can be wrong."""
    left = member.size
    while block := source.read(_CHUNK):
        left -= len(block)
        if left < 0:
            raise _Hostile(f"contains more than its header states ({member.name!r})")
        target.write(block)
    if left:
        raise ValueError(f"{member.name!r} is cut short")


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0] or "\0" in name:
        raise _Hostile(f"would write outside its folder ({name!r})")
    return path

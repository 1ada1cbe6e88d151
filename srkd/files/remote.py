"""Files and folders by URL (s3://, gs://, https://, memory:// and others), by fsspec.

A file is written whole under its final name or not at all: object stores show an upload only when it is complete, and
other file systems get it under a temporary name first. What is read more than once, data sets and checkpoints, is
copied to the cache under a name that changes with the remote files.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import tempfile
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path, printable_path, scratch
from srkd.files.cache import cache_place
from srkd.files.names import check_part

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_READ_ONLY = ("http", "https")
_OBJECT_STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss", "memory")
_ASKED_SINGLY = 50  # of more files in a folder, existence is looked up in its listing


def is_url(name: str | os.PathLike[str]) -> bool:
    """Whether a name is a URL and not a local path."""
    return isinstance(name, str) and _SCHEME.match(name) is not None


class Url(str):
    """A file or folder by URL, with those members of `pathlib.Path` that name and test files.

    >>> photo = Url("s3://bucket/photos/") / "a.png"
    >>> photo.name, photo.stem, photo.suffix, photo.parent
    ('a.png', 'a', '.png', 's3://bucket/photos')
    """

    __slots__ = ()

    @property
    def _named(self) -> PurePosixPath:
        path = urllib.parse.urlsplit(self).path if self.startswith(_READ_ONLY) else self
        return PurePosixPath(path.rstrip("/").rpartition("/")[2])

    @property
    def name(self) -> str:
        return self._named.name

    @property
    def stem(self) -> str:
        return self._named.stem

    @property
    def suffix(self) -> str:
        return self._named.suffix

    @property
    def parent(self) -> Url:
        return Url(self.rstrip("/").rpartition("/")[0])

    def with_name(self, name: str) -> Url:
        return self.parent / name

    def __truediv__(self, part: str | PurePath) -> Url:
        below = part if isinstance(part, str) else part.as_posix()
        return self if below == "." else Url(f"{self.rstrip('/')}/{below}")

    def exists(self) -> bool:
        """Raises SrkdError if the server cannot be asked."""
        with _errors(self):
            system, path = _open(self)
            return bool(system.exists(path))

    def is_dir(self) -> bool:
        """Whether it is a folder that contains files. Raises SrkdError if the server cannot be asked."""
        if self.startswith(_READ_ONLY):
            return False
        with _errors(self):
            system, path = _open(self)
            return bool(system.isdir(path))


Place = Path | Url


def place(name: str) -> Place:
    """A name as given on a command line: a URL, or a local path."""
    return Url(name) if is_url(name) else Path(name)


def local_folder(name: str | os.PathLike[str]) -> Path:
    """A folder that is written file by file, and must therefore be local.

    Raises:
        SrkdError: it is a URL.
    """
    if is_url(name):
        where = printable_path(str(name))
        raise SrkdError(f"{where}: only images are written by URL; choose a local folder, and copy it")
    return Path(name)


def _open(url: str) -> tuple[Any, str]:
    """The file system of a URL and the path in it."""
    import fsspec

    scheme = url.partition("://")[0]
    if scheme in _READ_ONLY:
        from srkd.files.download import check_address  # with Python's HTTP client, 20 ms of every start

        check_address(url, None)
    options: dict[str, Any] = {"use_listings_cache": False}
    if scheme in _READ_ONLY:
        options["get_client"] = _checked_client
    if scheme in ("s3", "s3a"):
        options["config_kwargs"] = {"retries": {"max_attempts": 2}, "connect_timeout": 5}
    return fsspec.core.url_to_fs(url, **options)  # type: ignore[no-any-return]


async def _checked_client(**options: Any) -> Any:
    """An HTTP client that follows a redirection only to an address that could have been given itself."""
    import aiohttp

    checks = aiohttp.TraceConfig()
    checks.on_request_redirect.append(_check_redirection)
    return aiohttp.ClientSession(trace_configs=[checks], **options)


async def _check_redirection(session: Any, context: Any, redirected: Any) -> None:
    from srkd.files.download import check_address

    headers = redirected.response.headers
    target = urllib.parse.urljoin(str(redirected.url), headers.get("Location") or headers.get("URI") or "")
    try:
        check_address(target, None)
    except SrkdError as error:
        raise SrkdError(f"{printable_path(str(redirected.url))}: redirected to {printable_path(str(error))}") from error


@contextmanager
def _errors(url: str) -> Iterator[None]:
    """Raise errors of file systems, whose libraries share no class of errors, as SrkdError with the URL."""
    where = printable_path(url)
    try:
        yield
    except SrkdError:
        raise
    except FileNotFoundError as error:
        # fsspec raises it for whatever happens to a request by http, such as a connection that is refused.
        cause = error.__cause__ if url.startswith(_READ_ONLY) else None
        if isinstance(cause, SrkdError):
            raise cause from error
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) == 404:
            raise SrkdError(f"{where}: no such file, folder or bucket") from error
        raise SrkdError(f"{where}: {_in_one_line(cause)}") from error
    except PermissionError as error:
        raise SrkdError(f"{where}: no permission; check the credentials and the bucket's policy") from error
    except ImportError as error:
        raise SrkdError(f"{where}: {error}; s3:// needs pip install 'srkd[cluster]', gs:// gcsfs") from error
    except Exception as error:
        raise SrkdError(f"{where}: {_in_one_line(error)}") from error


def _in_one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def read(url: str, max_bytes: int | None = None) -> bytes:
    """The content of a file.

    Raises:
        SrkdError: it cannot be read, or is larger than `max_bytes`.
    """
    with _errors(url):
        system, path = _open(url)
        size = system.info(path).get("size") if max_bytes is not None else None
        if size is not None and max_bytes is not None and size > max_bytes:
            raise SrkdError(f"{printable_path(url)}: {size:,} bytes, more than the limit of {max_bytes:,}")
        if max_bytes is None or not url.startswith(("http://", "https://")):
            return bytes(system.cat_file(path))
        data = bytearray()  # whatever size the server states, or if it states none
        with system.open(path, "rb", block_size=0) as stream:
            while len(data) <= max_bytes and (block := stream.read(1 << 20)):
                data += block
        if len(data) > max_bytes:
            raise SrkdError(f"{printable_path(url)}: more than the limit of {max_bytes:,} bytes")
        return bytes(data)


def write(url: str, data: bytes) -> None:
    """Write a file, all or nothing.

    Raises:
        SrkdError: it cannot be written; http and https are only read.
    """
    scheme = url.partition("://")[0]
    if scheme in _READ_ONLY:
        raise SrkdError(f"{printable_path(url)}: {scheme} is only read; write to a folder, s3:// or gs://")
    with _errors(url):
        system, path = _open(url)
        if scheme in _OBJECT_STORES:
            system.pipe_file(path, data)
            return
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/.part-{secrets.token_hex(6)}{PurePosixPath(name).suffix}"
        try:
            system.makedirs(folder, exist_ok=True)
            system.pipe_file(temporary, data)
            system.mv(temporary, path)
        finally:
            with suppress(OSError):  # it was renamed
                system.rm_file(temporary)


@contextmanager
def local_target(target: Place) -> Iterator[Path]:
    """Yield the path to write for `target`: a local path itself; for a URL a temporary file, uploaded at the end.

    Raises:
        SrkdError: as `write`; errors of the block that name the temporary file name the URL instead.
    """
    if isinstance(target, Path):
        yield target
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"file{target.suffix}"
        try:
            yield path
        except SrkdError as error:
            raise SrkdError(str(error).replace(printable_path(path), printable_path(target))) from error
        write(target, path.read_bytes())


def existing(targets: Iterable[Place]) -> set[Place]:
    """Those of the files that exist. Raises SrkdError if a server cannot be asked."""
    found: set[Place] = set()
    by_folder: dict[Url, list[Url]] = {}
    for target in targets:
        if isinstance(target, Url):
            by_folder.setdefault(target.parent, []).append(target)
        elif target.exists():
            found.add(target)
    for folder, urls in by_folder.items():
        if len(urls) <= _ASKED_SINGLY:
            found |= {url for url in urls if url.exists()}
        elif folder.is_dir():
            found |= {folder / relative for relative, _ in _listed(folder, recursive=False)} & set(urls)
    return found


def list_files(name: str, wanted: Callable[[str], bool], recursive: bool = False) -> list[tuple[Url, PurePosixPath]]:
    """The wanted files of a folder, glob or single file, sorted, each with its sub-folder relative to that folder.

    Hidden files and folders are left out, as are names that would leave the folder; a single file is returned whatever
    its name.

    Raises:
        SrkdError: nothing found, or the server cannot be asked.
    """
    url = Url(name)
    with _errors(url):
        system, path = _open(url)
        if url.startswith(_READ_ONLY) or system.isfile(path):
            return [(url, PurePosixPath())]
        if re.search(r"[*?\[]", path):
            root = path.rstrip("/")
            base, found = Url(name.removesuffix(root)), [str(entry) for entry in sorted(system.glob(path))]
            urls = [Url(f"{base}{entry}") for entry in found if wanted(entry)]
            if not urls:
                raise SrkdError(f"{printable_path(url)}: no file matches")
            return [(each, PurePosixPath()) for each in urls]
    files = [(url / relative, PurePosixPath(relative).parent) for relative, _ in _listed(url, recursive)]
    if not (kept := [(file, folder) for file, folder in files if wanted(file.name)]):
        hint = "" if recursive else "; sub-folders were not searched"
        raise SrkdError(f"{printable_path(url)}: no such folder, or no images in it{hint}")
    return kept


def _listed(folder: Url, recursive: bool) -> list[tuple[str, dict[str, Any]]]:
    """(path relative to the folder, what the server states about it) of the files that are not hidden, sorted."""
    with _errors(folder):
        system, root = _open(folder)
        system.invalidate_cache()
        entries = system.find(root, maxdepth=None if recursive else 1, detail=True)
        if not entries:
            with suppress(FileNotFoundError):
                system.ls(root, detail=False)  # `find` ignores errors, such as a missing permission
    found: dict[str, dict[str, Any]] = {}
    for path, info in entries.items():
        relative = str(path)[len(root.rstrip("/")) :].lstrip("/")
        if relative and not any(part.startswith(".") or not part for part in re.split(r"[/\\]", relative)):
            found[relative] = info
    return sorted(found.items())


def fetched(name: str, also: Sequence[str] = ()) -> Path:
    """A copy of a file in the cache, made once for each version of the remote file.

    Args:
        also: suffixes of files beside it that belong to it and are copied too, as the .bin of an .xml.

    Raises:
        SrkdError: it cannot be read.
    """
    url = Url(name)
    check_part(url.name, "the file of the URL")
    urls = [url, *(url.with_name(url.stem + suffix) for suffix in also)]
    with _errors(url):
        infos = []
        for each in urls:
            system, path = _open(each)
            infos.append(system.info(path))
    folder = cache_place("remote", _version(url, infos))
    for each in urls:
        if not (folder / each.name).is_file():
            with atomic_path(folder / each.name) as temporary, _errors(each):
                system, path = _open(each)
                system.get_file(path, str(temporary))
    return folder / url.name


def fetched_folder(name: str, wanted: Callable[[str], bool], recursive: bool = False) -> Path:
    """A copy of a folder's wanted files in the cache, made once for each version of the remote folder.

    Raises:
        SrkdError: it cannot be read or contains none.
    """
    url = Url(name)
    listed = [(relative, info) for relative, info in _listed(url, recursive) if wanted(relative)]
    if not listed:
        raise SrkdError(f"{printable_path(url)}: no such folder, or no images in it")
    final = cache_place("remote", _version(url, [info for _, info in listed])) / (url.name or "root")
    if not final.is_dir():
        with scratch(final.parent) as temporary, _errors(url):
            system, root = _open(url)
            targets = [temporary / "all" / relative for relative, _ in listed]
            for target in targets:
                target.parent.mkdir(parents=True, exist_ok=True)
            system.get([f"{root.rstrip('/')}/{relative}" for relative, _ in listed], [str(t) for t in targets])
            with suppress(OSError):  # another process was faster
                os.replace(temporary / "all", final)
    return final


def _version(url: Url, infos: Sequence[dict[str, Any]]) -> str:
    """A name for what a server states about files: sizes, times, checksums."""
    text = json.dumps([url, [_lasting(info) for info in infos]], default=str, sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _lasting(info: dict[str, Any]) -> dict[str, Any]:
    """What stays the same while a file does: of the URL that a redirection led to not the query, which may be a
    signature made for each request, and no time of the last access, as SFTP and SMB state it."""
    lasting = {key: value for key, value in info.items() if key != "time"}
    return lasting | ({"url": str(info["url"]).partition("?")[0]} if "url" in info else {})

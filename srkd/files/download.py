"""HTTP downloads: resumed after an interruption, retried, verified by checksum."""

from __future__ import annotations

import errno
import http.client
import json
import os
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, write_json
from srkd.files.digest import file_sha256
from srkd.terminal import tell

Progress = Callable[[int, "int | None"], None]

MAX_BYTES = 4 * 2**30  # for a file of unknown size; DIV2K's archive has 3.3 GiB
_BLOCK = 1 << 18
_LOCAL_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.EIO,
}
_RETRIED_STATUS = {408, 425, 429, 500, 502, 503, 504}


class _TemporaryError(Exception):
    """An error that another attempt may not meet."""


class _TooLarge(Exception):
    """A body larger than the limit."""


def download(
    url: str,
    final: Path,
    sha256: str | None = None,
    progress: Progress | None = None,
    max_bytes: int = MAX_BYTES,
    tries: int = 5,
    wait: float = 2.0,
    timeout: float = 30.0,
) -> str:
    """Download `url` to `final`; returns the SHA-256 of its bytes.

    Received bytes are kept beside `final` as NAME.partial, also when the program ends. The download resumes with a
    range request if the server reports an unchanged file (ETag or Last-Modified), else it starts again. The pause
    after each failed attempt doubles, from `wait` seconds on; an attempt that receives bytes resets the count.

    Args:
        sha256: the expected checksum in hexadecimal; None skips the check.
        progress: called with the bytes received and the total size, None if the server does not send it.
        max_bytes: the download stops if the server announces or sends more.

    Raises:
        SrkdError: not an http(s) URL; http without `sha256`, or a redirection to that, unless from localhost; more
            than `max_bytes`, or than the free disk space; an error status; all attempts failed; a wrong checksum (the
            received file is removed); an unwritable folder; a full disk.
    """
    check_address(url, sha256)
    opener = urllib.request.build_opener(_Redirections(sha256))
    partial = _Partial(final)
    left = tries
    while True:
        before = partial.size()
        try:
            _try(url, partial, opener, max_bytes, progress, timeout)
            break
        except _TooLarge as error:
            partial.remove()
            raise SrkdError(f"{url}: {error}; what arrived was removed") from error
        except _TemporaryError as error:
            left = tries - 1 if partial.size() > before else left - 1
            if left <= 0:
                kept = f"; {partial.size()} bytes are kept to go on from" if partial.size() else ""
                raise SrkdError(f"{url}: {error}, and {tries} tries did not help{kept}") from error
            pause = wait * 2 ** (tries - 1 - left)
            tell(f"{url}: {error}; trying again in {pause:g} s")
            time.sleep(pause)
    found = file_sha256(partial.path)
    if sha256 is not None and found != sha256:
        partial.remove()
        raise SrkdError(f"{url}: its sha256 is {found}, but it should be {sha256}; what arrived was removed")
    os.replace(partial.path, final)
    partial.remove()
    return found


def check_address(url: str, sha256: str | None) -> None:
    """Raise SrkdError unless a URL is https, or http with a known checksum or from localhost."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise SrkdError(f"{url}: not an http or https address")
    if parts.scheme == "http" and sha256 is None and parts.hostname not in ("localhost", "127.0.0.1", "::1"):
        raise SrkdError(f"{url}: http downloads may be altered in transit; use https, or give the sha256")


class _Redirections(urllib.request.HTTPRedirectHandler):
    """Checks each redirection by the rules for the first URL."""

    def __init__(self, sha256: str | None) -> None:
        self._sha256 = sha256

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        check_address(newurl, self._sha256)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _Partial:
    """The received bytes and, in a file beside them, the server's identifier of that version of the file."""

    def __init__(self, final: Path) -> None:
        self.path = final.with_name(final.name + ".partial")
        self._note = final.with_name(final.name + ".partial.json")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SrkdError(f"cannot write {printable_path(final.parent)}: {error.strerror}") from error

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self, url: str) -> str | None:
        """The version (ETag or Last-Modified) that the received bytes belong to; None if they cannot be resumed."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            note: dict[str, Any] = json.loads(self._note.read_bytes())
            return str(note["version"]) if note["url"] == url and note["version"] and self.size() else None
        return None

    def start(self, url: str, version: str | None) -> None:
        self.path.unlink(missing_ok=True)
        write_json(self._note, {"url": url, "version": version})

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _try(
    url: str,
    partial: _Partial,
    opener: urllib.request.OpenerDirector,
    max_bytes: int,
    progress: Progress | None,
    timeout: float,
) -> None:
    version = partial.version(url)
    headers = {"User-Agent": "srkd", "Accept-Encoding": "identity"}
    if version is not None:
        headers |= {"Range": f"bytes={partial.size()}-", "If-Range": version}
    try:
        with opener.open(urllib.request.Request(url, headers=headers), timeout=timeout) as response:
            at, whole = _range(response, partial)
            _check_room(whole or 0, max_bytes, partial)
            if at == 0:
                partial.start(url, _version(response))
            with partial.path.open("r+b" if at else "wb") as file:
                file.seek(at)
                _receive(response, file, whole, max_bytes, progress)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 416:  # no bytes beyond those received, or the file has shrunk
            partial.remove()
            raise _TemporaryError("the server has another file now") from error
        text = f"the server returned {error.code} {error.reason}"
        raise (_TemporaryError(text) if error.code in _RETRIED_STATUS else SrkdError(f"{url}: {text}")) from error
    except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and broken connections are OSErrors
        if getattr(error, "errno", None) in _LOCAL_ERRORS:
            raise SrkdError(f"cannot write {printable_path(partial.path)}: {os.strerror(error.errno)}") from error  # type: ignore[union-attr,arg-type]
        reason = getattr(error, "reason", None) or error or type(error).__name__
        raise _TemporaryError(f"the connection failed ({reason})") from error


def _check_room(whole: int, max_bytes: int, partial: _Partial) -> None:
    """Raise if a file of `whole` bytes exceeds the limit or the free disk space."""
    if whole > max_bytes:
        raise _TooLarge(f"the server announces {whole:,} bytes, more than the limit of {max_bytes:,}")
    missing, free = whole - partial.size(), shutil.disk_usage(partial.path.parent).free
    if missing > free:
        raise SrkdError(
            f"cannot write {printable_path(partial.path)}: {missing:,} bytes are needed, and the disk has {free:,}"
        )


def _range(response: Any, partial: _Partial) -> tuple[int, int | None]:
    """(offset of this response's bytes, size of the whole file or None if the server does not send it)."""
    length = response.headers.get("Content-Length", "").strip()
    if response.status != 206:
        return 0, int(length) if length.isdecimal() else None
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", response.headers.get("Content-Range", "").strip())
    if match is None or int(match[1]) != partial.size():
        partial.remove()
        raise _TemporaryError("the server sent another range than was requested")
    return int(match[1]), None if match[3] == "*" else int(match[3])


def _version(response: Any) -> str | None:
    etag = response.headers.get("ETag")
    result: str | None = etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")
    return result


def _receive(response: Any, file: BinaryIO, whole: int | None, max_bytes: int, progress: Progress | None) -> None:
    while block := response.read(_BLOCK):
        limit = max_bytes if whole is None else whole
        if file.tell() + len(block) > limit:
            raise _TooLarge(f"the server sends more than {limit:,} bytes")
        file.write(block)
        if progress:
            progress(file.tell(), whole)
    file.flush()
    os.fsync(file.fileno())
    if whole is not None and file.tell() < whole:
        raise _TemporaryError(f"the connection ended after {file.tell()} of {whole} bytes")

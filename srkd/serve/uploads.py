"""Uploads: streamed to temporary files of the server's own naming, and checked by their headers.

A file keeps the suffix of its upload, by which formats without a signature, such as TGA, are recognised.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from srkd.errors import SrkdError, unknown
from srkd.images.formats import is_readable_name
from srkd.images.read import image_header
from srkd.serve.queue import FullError, ImageQueue, QueuedImage
from srkd.terminal import printable

_LONGEST_NAME = 120  # characters
_LONGEST_FIELD = 1000  # bytes, of a text field of a form
_LONGEST_HEADER = 4096  # bytes, of a part of a form; python-multipart has a limit of its own only since 0.0.27
_MOST_FIELDS = 20
_FIELDS = ("name", "model", "format", "quality", "token")


@dataclass
class _Part:
    """A part of a form: a file at `path`, or the `text` of a field."""

    path: Path | None = None
    name: str = ""
    text: bytes = b""


async def receive(request: Request, queue: ImageQueue) -> list[QueuedImage]:
    """The images of a request, which are checked but not yet in the queue, where their places are reserved.

    The body is one image, named by the query's `name`, or a form whose files are images. `model`, `format` and
    `quality` are fields of the query or the form. An error removes all files of the request and frees their places.

    Raises:
        HTTPException: 400 for a malformed form or field, 413 for an upload or result beyond the limits, 422 for what
            is not an image, 429 if the queue is full, 507 if the disk is full.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    reader = _Form(queue, options.get(b"boundary", b"")) if kind == b"multipart/form-data" else _Raw(queue, request)
    try:
        async for chunk in request.stream():
            if chunk:
                await run_in_threadpool(reader.write, chunk)
        reader.close()
        if not reader.files:
            raise HTTPException(400, "no image in the request: send it as the body, or as files of a form")
        fields = dict(request.query_params) | reader.fields
        if wrong := sorted(fields.keys() - set(_FIELDS)):
            raise HTTPException(400, str(unknown("field", printable(wrong[0][:40]), _FIELDS)))
        return [await run_in_threadpool(_checked, queue, part, fields) for part in reader.files]
    except BaseException as error:  # a task that is cancelled too: its places would be lost
        reader.abort()
        if isinstance(error, ClientDisconnect):
            raise HTTPException(400, "the upload was interrupted") from error
        if isinstance(error, OSError):
            raise HTTPException(507, f"the server cannot store the upload: {error.strerror or error}") from error
        raise


def _checked(queue: ImageQueue, part: _Part, fields: dict[str, str]) -> QueuedImage:
    assert part.path is not None
    label = label_of(part.name)
    try:
        header = image_header(part.path)
    except SrkdError as error:
        raise HTTPException(422, str(error).replace(str(part.path), label)) from error
    size = header.height, header.width
    try:
        quality = int(fields["quality"]) if fields.get("quality") else None
    except ValueError as error:
        raise HTTPException(400, f"quality: an integer from 1 to 100, got {fields['quality'][:20]}") from error
    if quality is not None and not 1 <= quality <= 100:
        raise HTTPException(400, f"quality: an integer from 1 to 100, got {quality}")
    model, format = fields.get("model") or "auto", fields.get("format") or None
    try:
        choice = queue.choices[model]
    except SrkdError as error:
        raise HTTPException(400, str(error)) from error
    try:
        queue.limits.check_result(*size, choice.scale)
    except SrkdError as error:
        raise HTTPException(413, f"{label}: {error}") from error
    try:
        return queue.upload_of(part.path, label, size, header.format, model, format, quality)
    except SrkdError as error:
        raise HTTPException(400, str(error)) from error


def label_of(name: str) -> str:
    """The last part of a name in an upload, printable and not too long; it is shown and never used as a path."""
    last = printable(re.split(r"[/\\]", name)[-1].strip())
    stem, dot, suffix = last.rpartition(".")
    if len(last) > _LONGEST_NAME:
        last = f"{stem[: _LONGEST_NAME - len(suffix) - 1]}{dot}{suffix}" if len(suffix) < 8 else last[:_LONGEST_NAME]
    return last.lstrip(".") or "image"


class _Files:
    """Files of one request, each limited in size and with a place in the queue; `abort` removes all."""

    def __init__(self, queue: ImageQueue) -> None:
        self._queue = queue
        self._open: BinaryIO | None = None
        self._bytes = 0
        self.files: list[_Part] = []
        self.fields: dict[str, str] = {}

    def begin(self, name: str) -> None:
        try:
            self._queue.reserve()
        except FullError as error:
            raise HTTPException(429, str(error)) from error
        suffix = Path(name).suffix.lower() if is_readable_name(name) else ".upload"
        path = self._queue.folder / f"{secrets.token_hex(8)}{suffix}"
        self.files.append(_Part(path, name))
        self._open, self._bytes = path.open("xb"), 0

    def append(self, data: bytes) -> None:
        assert self._open is not None
        self._bytes += len(data)
        if self._bytes > self._queue.limits.bytes:
            raise HTTPException(413, too_large(self._queue.limits.megabytes))
        self._open.write(data)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None

    def abort(self) -> None:
        with suppress(OSError):  # it may write what is buffered, to a full disk
            self.close()
        self._queue.release(len(self.files))
        for part in self.files:
            with suppress(OSError):
                if part.path is not None:
                    part.path.unlink()


def too_large(megabytes: float) -> str:
    return f"larger than the limit of {megabytes:g} MB: start the server with a larger --max-megabytes"


class _Raw(_Files):
    """A body that is one image."""

    def __init__(self, queue: ImageQueue, request: Request) -> None:
        super().__init__(queue)
        self._name = request.query_params.get("name", "image")
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > queue.limits.bytes:
            raise HTTPException(413, too_large(queue.limits.megabytes))

    def write(self, data: bytes) -> None:
        if self._open is None:
            self.begin(self._name)
        self.append(data)


@dataclass
class _Headers:
    """The headers of a part while they are parsed."""

    name: bytes = b""
    value: bytes = b""
    disposition: bytes = b""

    def check(self) -> None:
        if len(self.name) + len(self.value) > _LONGEST_HEADER:
            raise HTTPException(400, f"a form with a header of more than {_LONGEST_HEADER} bytes")

    def end(self) -> None:
        if self.name.lower() == b"content-disposition":
            self.disposition = self.value
        self.name = self.value = b""


class _Form(_Files):
    """A multipart form: its parts with a file name are images, the others text fields."""

    def __init__(self, queue: ImageQueue, boundary: bytes) -> None:
        super().__init__(queue)
        if not boundary:
            raise HTTPException(400, "a form without a boundary")
        self._headers, self._field, self._text, self._is_file = _Headers(), "", b"", False
        self._ended = False
        callbacks: dict[str, Callable[..., Any]] = {
            "on_part_begin": self._part_begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": lambda: self._headers.end(),
            "on_headers_finished": self._headers_finished,
            "on_part_data": self._part_data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except ValueError as error:
            raise HTTPException(400, "a form whose boundary is too long") from error

    def write(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except ValueError as error:  # python_multipart's errors
            raise HTTPException(400, "a malformed form") from error

    def close(self) -> None:
        super().close()
        if not self._ended and (self.files or self.fields):
            raise HTTPException(400, "a form that is cut off")

    def abort(self) -> None:
        self._ended = True
        super().abort()

    def _part_begin(self) -> None:
        self._headers, self._text = _Headers(), b""
        if len(self.fields) >= _MOST_FIELDS:
            raise HTTPException(400, f"a form of more than {_MOST_FIELDS} fields")

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._headers.name += data[start:end]
        self._headers.check()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._headers.value += data[start:end]
        self._headers.check()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.disposition)
        self._field = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = b"filename" in options
        if self._is_file:
            self.begin(options[b"filename"].decode("utf-8", "replace"))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.append(data[start:end])
            return
        self._text += data[start:end]
        if len(self._text) > _LONGEST_FIELD:
            raise HTTPException(400, f"a form field of more than {_LONGEST_FIELD} bytes")

    def _part_end(self) -> None:
        if self._is_file:
            super().close()
        else:
            self.fields[self._field] = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True

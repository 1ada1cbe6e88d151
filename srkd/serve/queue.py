"""The queue of a server: images that wait, one that is upscaled, and results until they are removed."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.images.formats import READABLE
from srkd.inference.files import Options, upscale_observed
from srkd.inference.jobs import Job, job_in
from srkd.serve.choices import ModelChoices
from srkd.serve.limits import Limits

ACTIVE = ("queued", "running")
_TILE = 512  # pixels, for networks with exact tiles: the result is the same, and progress and cancelling are finer
_THUMBNAIL = 128  # pixels
_LEAVE = 10.0  # seconds that a tile may take to end when the server stops
Say = Callable[[str], None]


class FullError(SrkdError):
    """The queue has no room for another image."""


class NoSuchJobError(SrkdError):
    """No image of the queue has this id."""

    def __init__(self) -> None:
        super().__init__("no such job: it was removed, or the server was started again")


class _Stopped(Exception):
    """Ends an image that was cancelled."""


@dataclass
class QueuedImage:
    """An image of the queue.

    Args:
        name: for people, never part of a path.
        model: a name of `ModelChoices`.
        source: the file to read.
        size: its (height, width).
        target: the file to write; it exists if `state` is "done".
        format: of the target.
        owned: whether the server created source and target, and removes them.
    """

    name: str
    model: str
    scale: int
    source: Path
    size: tuple[int, int]
    source_format: str
    target: Path
    format: str
    owned: bool = True
    quality: int | None = None
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    state: str = "queued"
    progress: float = 0.0
    seconds: float | None = None
    backend: str = ""
    notes: tuple[str, ...] = ()
    error: str = ""
    thumbnail: bytes = b""
    finished: Future[None] = field(default_factory=Future)
    cancelled: bool = False
    removed: bool = False

    @property
    def result_name(self) -> str:
        """The name to offer for the result: photo_x2.png."""
        stem = Path(self.name).stem if Path(self.name).suffix else self.name
        if not self.owned:
            return printable_path(self.target.name)
        return f"{stem or 'image'}_x{self.scale}{self.target.suffix}"

    def as_json(self) -> dict[str, Any]:
        height, width = self.size
        about = {"id": self.id, "name": self.name, "model": self.model, "scale": self.scale}
        sizes = {"size": [width, height], "upscaled_size": [width * self.scale, height * self.scale]}
        where = {"format": self.format, "result_name": self.result_name, "from_folder": not self.owned}
        state = {"state": self.state, "progress": round(self.progress, 3), "backend": self.backend}
        seconds = None if self.seconds is None else round(self.seconds, 3)
        return {
            **about,
            **sizes,
            **where,
            **state,
            "seconds": seconds,
            "notes": self.notes,
            "error": self.error or None,
        }


class ImageQueue:
    """Upscales images in the order of their arrival, in one thread.

    Args:
        folder: for uploads and results; only files in it are ever removed.
    """

    def __init__(self, folder: Path, choices: ModelChoices, limits: Limits, say: Say) -> None:
        self.folder, self.choices, self.limits, self._say = folder, choices, limits, say
        self._images: dict[str, QueuedImage] = {}
        self._reserved = 0  # places of images that are being uploaded
        self._changed = threading.Condition()
        self._open = True
        self._thread = threading.Thread(target=self._work, name="srkd-serve-worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Cancel everything and wait until the current tile is computed, at most 10 seconds."""
        self.cancel_all()
        with self._changed:
            self._open = False
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_LEAVE)

    def cancel_all(self) -> None:
        """Cancel every image; those who wait for one no longer do."""
        with self._changed:
            for image in self._images.values():
                self._cancel(image)
                self._wake(image)

    def upload_of(
        self, path: Path, name: str, size: tuple[int, int], source_format: str, model: str, format: str | None,
        quality: int | None = None,
    ) -> QueuedImage:  # fmt: skip
        """The image of an uploaded file in `folder`; its result is written in `format`, else its own, else PNG.

        Raises:
            SrkdError: an unknown model or format, or a result beyond the limits.
        """
        choice = self.choices[model]
        self.limits.check_result(*size, choice.scale)
        known = READABLE[source_format].suffixes
        suffix = Path(name).suffix if Path(name).suffix.lower() in known else known[0]
        job = job_in(self.folder, path.with_name(path.stem + suffix), format, "_result")
        return QueuedImage(
            name, choice.name, choice.scale, path, size, source_format, Path(job.target), job.format, quality=quality
        )

    @property
    def room(self) -> int:
        """How many images can be added, beside those for which a place is reserved."""
        with self._changed:
            return max(0, int(self.limits.images) - len(self._images) - self._reserved)

    def reserve(self) -> None:
        """Reserve a place for an image whose upload begins, for `add` or `release`. Raises FullError."""
        with self._changed:
            if not self.room:
                raise self._full()
            self._reserved += 1

    def release(self, places: int) -> None:
        """Give back places that were reserved and are not needed."""
        with self._changed:
            self._reserved -= places

    def add(self, *images: QueuedImage, reserved: bool = False) -> None:
        """Append images, all or none; with `reserved`, to the places that were reserved for them.

        Raises:
            FullError: there is no room; sources that the server owns have then been removed.
        """
        with self._changed:
            if reserved:
                self.release(len(images))
            if self.room < len(images) or not self._open:
                for image in images:
                    self.discard(image)
                raise self._full()
            self._images.update({image.id: image for image in images})
            self._changed.notify_all()

    def _full(self) -> FullError:
        return FullError(f"the queue is full ({self.limits.images:g} images): remove finished ones, or wait")

    def __getitem__(self, id: str) -> QueuedImage:
        """The image with that id. Raises NoSuchJobError."""
        with self._changed:
            if id not in self._images:
                raise NoSuchJobError
            return self._images[id]

    def __iter__(self) -> Iterator[QueuedImage]:
        """The images in the order of their arrival, as of now."""
        with self._changed:
            return iter(list(self._images.values()))

    def cancel(self, id: str) -> QueuedImage:
        """Cancel an image that waits or is upscaled; others stay as they are. Raises NoSuchJobError."""
        with self._changed:
            image = self[id]
            self._cancel(image)
            return image

    def _cancel(self, image: QueuedImage) -> None:
        image.cancelled = True
        if image.state == "queued":
            self._finish(image, "cancelled")

    def remove(self, id: str) -> None:
        """Remove an image with its files, if the server owns them; cancel it before. Raises NoSuchJobError."""
        with self._changed:
            image = self[id]
            del self._images[id]
            image.removed = True
            self._cancel(image)
            if image.state not in ACTIVE:
                self.discard(image)

    def remove_all(self, images: Iterable[QueuedImage]) -> None:
        """`remove` those images that nobody has removed meanwhile."""
        for image in images:
            with suppress(NoSuchJobError):
                self.remove(image.id)

    def preview_path(self, image: QueuedImage, side: str) -> Path:
        """Where an image converted for the page is kept; `side` is "before" or "after"."""
        return self.folder / f"{image.id}_{side}.png"

    def discard(self, image: QueuedImage) -> None:
        """Remove the files of an image that is not in the queue, if the server owns them."""
        previews = [self.preview_path(image, side) for side in ("before", "after")]
        for path in [*previews, *([image.source, image.target] if image.owned else [])]:
            with suppress(OSError):
                path.unlink()

    def _finish(self, image: QueuedImage, state: str, error: str = "") -> None:
        image.state, image.error = state, error
        self._wake(image)

    def _wake(self, image: QueuedImage) -> None:
        if not image.finished.done():
            image.finished.set_result(None)

    def _work(self) -> None:
        while (image := self._next()) is not None:
            started = time.perf_counter()
            state, error = "done", ""
            try:
                self._upscale(image)
            except _Stopped:
                state = "cancelled"
            except SrkdError as problem:
                state, error = "failed", _without_path(str(problem), image)
            except Exception as problem:  # a decoder or a network; the other images go on
                state, error = "failed", f"{type(problem).__name__}: {' '.join(str(problem).split())}"
            with self._changed:
                image.seconds = time.perf_counter() - started
                if state == "done":
                    self.choices.observe(image.model, image.size[0] * image.size[1], image.seconds)
                self._finish(image, state, error)
                if image.removed:
                    self.discard(image)
            if not image.owned:
                done = f"{printable_path(image.target)}: written"
                self._say(done if state == "done" else f"{printable_path(image.source)}: {error or state}")

    def _next(self) -> QueuedImage | None:
        """The next image, now running; None when the queue is closed. Times are looked up while nothing waits."""
        while self._open:
            with self._changed:
                for image in self._images.values():
                    if image.state == "queued":
                        image.state = "running"
                        return image
            if not self.choices.look_up_time():
                with self._changed:
                    self._changed.wait_for(self._is_needed)
        return None

    def _is_needed(self) -> bool:
        return not self._open or any(image.state == "queued" for image in self._images.values())

    def _upscale(self, image: QueuedImage) -> None:
        model = self.choices.opened(image.model)
        whole = not model.tiles or not model.receptive_field.exact

        def decoded(pixels: np.ndarray) -> None:
            image.size = pixels.shape[0], pixels.shape[1]
            self.limits.check_result(*image.size, image.scale)  # the header may have stated less
            image.thumbnail = _thumbnail(pixels)
            progress(0)

        def progress(share: float) -> None:
            if image.cancelled:
                raise _Stopped
            image.progress = share

        options = Options(tile=None if whole else _TILE, quality=image.quality)
        outcome = upscale_observed(
            model, Job(image.source, image.target, image.format, is_new=not image.owned), options, decoded, progress
        )
        image.notes, image.backend = outcome.notes, outcome.backend


def _without_path(message: str, image: QueuedImage) -> str:
    """The message with the name that the user knows in place of paths of the server."""
    for path in (image.source, image.target):
        message = message.replace(printable_path(path), image.name)
    return message


def _thumbnail(pixels: np.ndarray) -> bytes:
    """A small JPEG of (H, W, C) pixels; transparency is shown on grey."""
    step = max(1, min(pixels.shape[:2]) // (2 * _THUMBNAIL))
    small = pixels[::step, ::step].astype(np.float32) / np.iinfo(pixels.dtype).max
    if small.shape[2] in (2, 4):
        small = small[..., :-1] * small[..., -1:] + 0.5 * (1 - small[..., -1:])
    share = min(1, _THUMBNAIL / min(small.shape[:2]))
    size = (max(1, round(small.shape[1] * share)), max(1, round(small.shape[0] * share)))
    bgr = np.broadcast_to(
        cv2.resize(small, size, interpolation=cv2.INTER_AREA).reshape(*size[::-1], -1), (*size[::-1], 3)
    )
    return bytes(
        cv2.imencode(".jpg", np.rint(255 * bgr[..., ::-1]).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 80])[1]
    )

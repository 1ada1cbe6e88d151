"""Image stores: images decoded once into flat, memory-mapped uint8 files, from which training crops directly.

A store is a folder: `index.json` lists the images, their sizes, offsets and sources; `pixels-*.u8` contains the pixels,
HR and LR alternating. The index is written last and a rebuild uses a new name for the pixels, so a store is complete or
absent, and processes that have the old one open are not affected.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path, printable_path, write_json
from srkd.files.cache import cache_place, trusted_inside
from srkd.files.digest import file_sha256, sampled_sha256
from srkd.files.lock import locked
from srkd.images.read import read_image, read_rgb, to_rgb
from srkd.images.resize import imresize, modcrop
from srkd.images.write import to_depth
from srkd.interruption import result, submitted

Pixels = NDArray[np.uint8]
Progress = Callable[[int, int], None]

_VERSION = 2
_INDEX = "index.json"
MATLAB_BICUBIC = "imresize(1/scale, bicubic), uint8 after each pass"
GIVEN = "read from files"


@dataclass(frozen=True)
class SourceFile:
    """A file that an image was decoded from, in its state at that time."""

    path: str
    bytes: int
    mtime_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> SourceFile:
        """The file in its current state. Raises SrkdError if it cannot be read."""
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise SrkdError(f"{printable_path(path)}: not a file")
            return cls(os.path.abspath(path), found.st_size, found.st_mtime_ns, file_sha256(path))
        except OSError as error:
            raise SrkdError(f"{printable_path(path)}: {error.strerror}") from error

    def unchanged(self) -> bool:
        """Whether the file has the same content, or no longer exists."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return True
        if (found.st_size, found.st_mtime_ns) == (self.bytes, self.mtime_ns):
            return True
        return found.st_size == self.bytes and file_sha256(Path(self.path)) == self.sha256


@dataclass(frozen=True)
class Entry:
    """One image: its name, the size and offset of HR and (with a scale) of LR, and its source files."""

    name: str
    grey: bool
    height: int
    width: int
    offset: int
    lr_offset: int
    sources: tuple[SourceFile, ...]

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Entry:
        return cls(**{**raw, "sources": tuple(SourceFile(**s) for s in raw["sources"])})


class ImageStore:
    """Read-only access to a store. Pickled as its folder; worker processes map the files themselves."""

    def __init__(self, folder: Path, index: dict[str, Any]) -> None:
        self.folder = folder
        self.scale: int | None = index["scale"]
        self.lr_protocol: str | None = index["lr_protocol"]
        self.fingerprint: str = index["fingerprint"]
        self._entries = [Entry.parse(e) for e in index["pictures"]]
        self._pixels = _mapped(folder / index["file"], index["bytes"])

    @classmethod
    def open(cls, folder: Path | str, check: bool = True) -> ImageStore:
        """Open a store; with `check`, sources that still exist must be unchanged since it was built.

        Raises:
            SrkdError: no store there, a damaged store, or a changed source (the first is named).
        """
        folder = Path(folder)
        try:
            index = json.loads((folder / _INDEX).read_bytes())
            if index.get("version") != _VERSION:
                raise SrkdError(f"{printable_path(folder)}: built by another version of srkd; run prepare_data again")
            if index.pop("digest") != _digest(index):
                raise ValueError("its index was changed")
            store = cls(folder, index)
            if check and sampled_sha256(folder / index["file"]) != index["sampled_sha256"]:
                raise ValueError(f"{index['file']} was changed")
        except FileNotFoundError as error:
            raise SrkdError(f"{printable_path(folder)}: no image store there; create one with prepare_data") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise SrkdError(
                f"{printable_path(folder)}: the store is damaged ({error}); run prepare_data again"
            ) from error
        changed = store.changed_sources() if check else []
        if changed:
            which = printable_path(changed[0]) + (f" and {len(changed) - 1} more" if len(changed) > 1 else "")
            raise SrkdError(f"{which} changed since {printable_path(folder)} was built; run prepare_data again")
        return store

    def __len__(self) -> int:
        return len(self._entries)

    def hr(self, i: int) -> Pixels:
        """The HR image i: a read-only view (H, W, 3) into the mapped file, sides multiples of `scale`."""
        entry = self._entries[i]
        return _view(self._pixels, entry.offset, entry.height, entry.width)

    def lr(self, i: int) -> Pixels:
        """The LR image i: a read-only view (H / scale, W / scale, 3).

        Raises:
            SrkdError: the store was built without a scale.
        """
        entry = self._entries[i]
        if self.scale is None:
            raise SrkdError(f"{printable_path(self.folder)}: this store has no LR images; build it with a scale")
        return _view(self._pixels, entry.lr_offset, entry.height // self.scale, entry.width // self.scale)

    def name(self, i: int) -> str:
        """The name of image i: its file's, without suffix."""
        return self._entries[i].name

    def is_grey(self, i: int) -> bool:
        """Whether image i was a grey file (whose values the literature uses as Y unchanged)."""
        return self._entries[i].grey

    @property
    def size(self) -> int:
        """Size of the pixels in bytes."""
        return self._pixels.size

    def source(self, i: int) -> SourceFile:
        """The file that HR image i was decoded from."""
        return self._entries[i].sources[0]

    def sources(self) -> list[SourceFile]:
        """All files that the store was built from."""
        return [source for entry in self._entries for source in entry.sources]

    def changed_sources(self) -> list[str]:
        """Paths of sources that exist and whose content has changed."""
        return [source.path for source in self.sources() if not source.unchanged()]

    def __reduce__(self) -> tuple[Any, ...]:
        return ImageStore.open, (self.folder, False)


def _digest(index: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()


def _mapped(path: Path, size: int) -> NDArray[np.uint8]:
    if path.stat().st_size != size:
        raise ValueError(f"{path.name} has {path.stat().st_size} bytes, expected {size}")
    return np.memmap(path, np.uint8, "r")


def _view(flat: NDArray[np.uint8], offset: int, height: int, width: int) -> Pixels:
    return flat[offset : offset + 3 * height * width].reshape(height, width, 3)


def open_or_build(
    images: Sequence[Path],
    scale: int | None,
    lr: Sequence[Path] | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> ImageStore:
    """The store of these files: the existing one if none of them changed, else a new one.

    `folder` defaults to one in the cache folder, named by the paths and the scale.

    Raises:
        SrkdError: as `build_store`.
    """
    groups = [images] if lr is None else [images, lr]
    wanted = [os.path.abspath(path) for together in zip(*groups, strict=False) for path in together]
    if folder is None:
        kind = [] if lr is None else ["pairs"]  # the same files may be images, each with an LR of its own
        key = hashlib.sha256(os.fsencode("\0".join([*kind, str(scale), *wanted]))).hexdigest()[:16]
        folder = cache_place("stores", key)
    with locked(folder):
        if all(map(os.path.exists, wanted)) and trusted_inside(folder):
            with suppress(SrkdError):
                store = ImageStore.open(folder)
                if ([s.path for s in store.sources()], store.scale, len(store)) == (wanted, scale, len(images)):
                    return store
        return build_store(images, folder, scale, lr, progress)


def build_store(
    images: Sequence[Path],
    folder: Path | str,
    scale: int | None,
    lr: Sequence[Path] | None = None,
    progress: Progress | None = None,
) -> ImageStore:
    """Decode `images` into a store in `folder`, replacing an existing one.

    With a `scale` HR is cropped to multiples of it and LR computed by `imresize`, or read from `lr`, one file per
    image. Grey becomes RGB, 16 bits are rounded to 8. `progress(done, total)` is called after each image.

    Raises:
        SrkdError: no images, images that cannot be read or are smaller than the scale, pairs whose sizes do not
            match (up to five are listed), a folder that cannot be written, a full disk.
    """
    folder = Path(folder)
    if not images:
        raise SrkdError("no images to build a store from")
    if scale is not None and scale < 1:
        raise SrkdError(f"the scale must be a positive integer, got {scale}")
    if lr is not None and (scale is None or len(lr) != len(images)):
        raise SrkdError(f"{len(images)} HR and {len(lr)} LR images with scale {scale}: pairs need both and a scale")
    data, entries, digest = folder / f"pixels-{secrets.token_hex(4)}.u8", [], hashlib.sha256()
    with atomic_path(data) as temporary, temporary.open("wb") as file:
        for name, item in zip(_names(images), _decoded(images, lr, scale, progress), strict=True):
            offsets = [_append(file, digest, pixels) for pixels in (item.hr, item.lr)]
            height, width, _ = item.hr.shape
            entries.append(Entry(name, item.grey, height, width, offsets[0], offsets[1], item.sources))
            digest.update(repr((name, item.hr.shape, item.lr.shape)).encode())
    index = {
        "version": _VERSION,
        "scale": scale,
        "lr_protocol": None if scale is None else GIVEN if lr else MATLAB_BICUBIC,
        "fingerprint": digest.hexdigest(),
        "file": data.name,
        "bytes": data.stat().st_size,
        "sampled_sha256": sampled_sha256(data),
        "pictures": [asdict(e) for e in entries],
    }
    write_json(folder / _INDEX, {**index, "digest": _digest(index)})
    for old in folder.glob(f"pixels-{'[0-9a-f]' * 8}.u8"):
        if old != data:
            old.unlink(missing_ok=True)
    return ImageStore(folder, index)


def _append(file: BinaryIO, digest: Any, pixels: Pixels) -> int:
    offset = file.tell()
    raw = np.ascontiguousarray(pixels).data
    digest.update(raw)
    file.write(raw)
    return offset


def _names(images: Sequence[Path]) -> list[str]:
    """Stems if they are unique, else paths below the common folder."""
    stems = [printable_path(p.stem) for p in images]
    if len(set(stems)) == len(stems):
        return stems
    common = os.path.commonpath([p.absolute().parent for p in images])
    return [printable_path(os.path.relpath(p.absolute(), common)) for p in images]


@dataclass(frozen=True)
class _Decoded:
    hr: Pixels
    lr: Pixels
    grey: bool
    sources: tuple[SourceFile, ...]


def _decoded(
    images: Sequence[Path], lr: Sequence[Path] | None, scale: int | None, progress: Progress | None
) -> Iterator[_Decoded]:
    """Decode on all cores, in order, a few images ahead; failures are collected into one error at the end."""
    failures: list[str] = []
    workers = os.cpu_count() or 1
    jobs = itertools.zip_longest(images, lr or ())
    with ThreadPoolExecutor(workers) as pool:
        ahead: deque[Future[_Decoded]] = deque()
        for done in range(len(images)):
            more = itertools.islice(jobs, 2 * workers - len(ahead))
            ahead.extend(submitted(pool, _decode, *job, scale) for job in more)
            try:
                item = result(ahead.popleft())
                if not failures:
                    yield item
            except SrkdError as error:
                failures.append(str(error))
            if progress:
                progress(done + 1, len(images))
    if failures:
        shown_here = "; ".join(failures[:5]) + (f"; and {len(failures) - 5} more" if len(failures) > 5 else "")
        raise SrkdError(f"{len(failures)} of {len(images)} images cannot be used: {shown_here}")


def _decode(path: Path, lr_path: Path | None, scale: int | None) -> _Decoded:
    # Before the pixels are read, so that a change in the meantime is detected.
    sources = tuple(SourceFile.of(p) for p in ([path] if lr_path is None else [path, lr_path]))
    image = read_image(path)
    hr = modcrop(to_depth(to_rgb(image, path), deep=False), scale or 1)
    if 0 in hr.shape:
        raise SrkdError(
            f"{printable_path(path)}: {image.pixels.shape[1]}x{image.pixels.shape[0]} is smaller than the scale"
        )
    if scale is None:
        lr = hr[:0]
    elif lr_path is None:
        lr = imresize(np.ascontiguousarray(hr), 1 / scale)
    else:
        lr = to_depth(read_rgb(lr_path), deep=False)
        _check_pair(path, hr, lr_path, lr, scale)
    for source in sources:
        if not source.unchanged():
            raise SrkdError(f"{printable_path(source.path)}: changed while being read; run prepare_data again")
    return _Decoded(hr, lr, image.is_grey, sources)


def _check_pair(hr_path: Path, hr: Pixels, lr_path: Path, lr: Pixels, scale: int) -> None:
    expected = (hr.shape[0] // scale, hr.shape[1] // scale)
    if lr.shape[:2] != expected:
        raise SrkdError(
            f"pair {printable_path(hr_path)} and {printable_path(lr_path)}: the LR image is "
            f"{lr.shape[1]}x{lr.shape[0]}, "
            f"but HR {hr.shape[1]}x{hr.shape[0]} divided by {scale} is {expected[1]}x{expected[0]}"
        )


def pair_files(
    hr: Sequence[Path], lr: Sequence[Path], scale: int, template: str = "{}", others: Sequence[Path] = ()
) -> list[Path]:
    """The LR file of each HR file, by name without suffix: `template` with the HR file's name in place of `{}`.

    The default template `{}` also matches DIV2K's names (0001x2), and names with LR in place of HR.

    Args:
        others: excluded HR files, whose LR files may be among `lr`.

    Raises:
        SrkdError: an HR file without an LR file, or with several; an LR file with several HR files, or with none.
    """
    by_stem: dict[str, list[Path]] = {}
    for path in lr:
        by_stem.setdefault(path.stem, []).append(path)
    taken: dict[Path, Path] = {}
    for path in hr:
        stems = _lr_stems(path, scale, template)
        found = next((by_stem[stem] for stem in stems if stem in by_stem), [])
        if not found:
            raise SrkdError(
                f"{printable_path(path)}: no LR image of its name (looked for {', '.join(map(printable_path, stems))})"
            )
        if len(found) > 1:
            raise SrkdError(
                f"{printable_path(path)}: two LR images of its name, {printable_path(found[0])} and "
                f"{printable_path(found[1])}"
            )
        if found[0] in taken:
            raise SrkdError(
                f"{printable_path(found[0])}: the LR image of both {printable_path(taken[found[0]])} and "
                f"{printable_path(path)}; where folders "
                "contain files of the same names, give as many LR as HR folders"
            )
        taken[found[0]] = path
    spare = {stem for path in others for stem in _lr_stems(path, scale, template)}
    left = sorted(path for path in set(lr) - set(taken) if path.stem not in spare)
    if left:
        raise SrkdError(f"{printable_path(left[0])}: no HR image of its name")
    return list(taken)


def _lr_stems(hr: Path, scale: int, template: str) -> list[str]:
    if template != "{}":
        return [template.format(hr.stem)]
    return [hr.stem, f"{hr.stem}x{scale}", hr.stem.replace("HR", "LR")]

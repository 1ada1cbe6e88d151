"""Crops of the user's photographs: a training set, and a held-out set from other photographs to compare students."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from srkd.data import near_duplicates, roles
from srkd.data.manifests import images_of
from srkd.data.store import SourceFile
from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.files.owned import reset_folder
from srkd.images.read import ImageData, image_size, read_rgb, write_image
from srkd.images.resize import shrunk, shrunk_size

LARGEST = 2040  # DIV2K's longer side; camera photographs above it have more pixels than the lens resolves
_FEWEST, _HELD_OUT_FEWEST, _HELD_OUT_MOST = 4, 2, 8
Box = tuple[int, int, int, int]  # top, left, height, width


@dataclass(frozen=True)
class Photo:
    """An image file and its (height, width) after downscaling to at most `LARGEST`."""

    path: Path
    size: tuple[int, int]


def find(data: Sequence[str], patch: int) -> tuple[list[Photo], dict[str, int]]:
    """Find the photographs to train on, in folders and data sets; also returns the number left out by reason.

    Photographs smaller than a patch are left out, those of a validation set (an unpacked data set may have them in the
    same folder), and all but one of equal files, of which others could be held out. Photographs of a test set raise an
    error, because its scores would no longer be valid.

    Args:
        data: folders or names of data sets.
        patch: side of an HR patch in pixels.

    Raises:
        SrkdError: folder not found, too few photographs, a photograph of a test set, or one that `srkd prepare_data`
            found to be a near-duplicate of one.
    """
    files = [path for name in data for path in _files(name)]
    photos = [Photo(path, shrunk_size(*image_size(path), LARGEST)) for path in files]
    large = [photo for photo in photos if min(photo.size) >= patch]
    sources = [SourceFile.of(photo.path) for photo in large]
    near_duplicates.refuse_known(sources)
    parts = [
        roles.belongs_to(source.sha256, photo.path, photo.size) for source, photo in zip(sources, large, strict=True)
    ]
    allowed = [n for n, (_, role) in enumerate(parts) if role != "validation"]
    first: dict[str, int] = {}
    for n in allowed:
        first.setdefault(sources[n].sha256, n)
    usable = [(large[n], parts[n]) for n in first.values()]
    left_out = {
        f"smaller than {patch}x{patch} pixels": len(photos) - len(large),
        "of a validation set": len(large) - len(allowed),
        "equal to others": len(allowed) - len(usable),
    }
    if len(usable) < _FEWEST:
        others = "".join(f"; {count} more are {why}" for why, count in left_out.items() if count)
        raise SrkdError(f"{', '.join(data)}: {len(usable)} photographs, at least {_FEWEST} are needed{others}")
    for photo, part in usable:
        roles.refuse(photo.path, *part)
    return [photo for photo, _ in usable], left_out


def _files(name: str) -> list[Path]:
    return images_of(name, recursive=True)


def split(photos: Sequence[Photo]) -> tuple[list[Photo], list[Photo]]:
    """Split into (training, held out). A tenth is held out, 2 to 8 photographs, evenly spaced over all folders."""
    count = min(max(len(photos) // 10, _HELD_OUT_FEWEST), _HELD_OUT_MOST)
    held = {round((k + 0.5) * len(photos) / count - 0.5) for k in range(count)}
    return [p for i, p in enumerate(photos) if i not in held], [p for i, p in enumerate(photos) if i in held]


def boxes(size: tuple[int, int], side: int) -> list[Box]:
    """Divide an image of `size` into boxes of about equal size, at most `side` a side, without overlap."""
    rows, columns = (_cuts(length, side) for length in size)
    return [(top, left, bottom - top, right - left) for top, bottom in rows for left, right in columns]


def _cuts(length: int, side: int) -> list[tuple[int, int]]:
    count = -(-length // side)
    edges = [length * k // count for k in range(count + 1)]
    return list(pairwise(edges))


def crops(photos: Sequence[Photo], side: int, pixels: float, patch: int, seed: int) -> list[tuple[Photo, Box]]:
    """Choose crops of at most `pixels` in total: one of each photograph, then a second of each, and so on."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(photos))
    parts = [
        _shuffled([b for b in boxes(p.size, side) if min(b[2:]) >= patch] or [_middle(p.size, side)], rng)
        for p in photos
    ]
    found: list[tuple[Photo, Box]] = []
    for turn in range(max(map(len, parts))):
        for number in order:
            if turn < len(parts[number]):
                _, _, height, width = box = parts[number][turn]
                if height * width > pixels:
                    return found
                pixels -= height * width
                found.append((photos[number], box))
    return found


def _middle(size: tuple[int, int], side: int) -> Box:
    height, width = (min(length, side) for length in size)
    return (size[0] - height) // 2, (size[1] - width) // 2, height, width


def _shuffled(parts: list[Box], rng: np.random.Generator) -> list[Box]:
    return [parts[i] for i in rng.permutation(len(parts))]


def write(chosen: Sequence[tuple[Photo, Box]], folder: Path, report: Callable[[int, str], None]) -> None:
    """Write crops as PNG files into their own folder; each photograph is read once.

    Args:
        report: called with the number of finished photographs and the name of the last.

    Raises:
        SrkdError: as `read_rgb` and `write_image`, or the folder has files that srkd did not write.
    """
    by_photo: dict[Photo, list[Box]] = {}
    for photo, box in chosen:
        by_photo.setdefault(photo, []).append(box)
    names = [
        [f"{number:05d}_{part}_{photo.path.stem}.png" for part in range(len(found))]
        for number, (photo, found) in enumerate(by_photo.items())
    ]
    reset_folder(folder, [name for together in names for name in together])
    for number, (photo, found) in enumerate(by_photo.items()):
        pixels = shrunk(read_rgb(photo.path), photo.size)
        for name, (top, left, height, width) in zip(names[number], found, strict=True):
            write_image(folder / name, ImageData(np.ascontiguousarray(pixels[top : top + height, left : left + width])))
        report(number + 1, printable_path(photo.path.name))

"""Readers of image classification data sets: CIFAR pickles, MNIST idx files, one folder per class."""

from __future__ import annotations

import gzip
import math
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from srkd.adapters.classification import pickles
from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.images.decoders import opencv as decode_image

Files = dict[str, bytes]
_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".webp"}
_IDX = {"train": ("train-images", "train-labels"), "test": ("t10k-images", "t10k-labels")}


@dataclass(frozen=True)
class Labelled:
    """Images (N, H, W, C), uint8, with C = 3 (RGB) or 1 (grey), and their labels (N), int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __getitem__(self, some: Any) -> Labelled:
        """Those selected by an index along the first axis: a slice or numbers."""
        return Labelled(self.images[some], np.asarray(self.labels[some]))


def decode(root: Path) -> tuple[list[str], dict[str, Labelled]]:
    """Read a folder or tar archive: the class names and the splits `train` and `test`.

    Raises:
        SrkdError: the archive is damaged, the layout is unknown, a file is missing or damaged, or image sizes differ.
    """
    where, files = printable_path(root), dict(_files(root))
    names = {PurePosixPath(name).name for name in files}
    if "data_batch_1" in names or {"train", "meta"} <= names:
        return _cifar(files, where)
    if any(name.startswith("train-images") for name in names):
        return _idx(files, where)
    if any(PurePosixPath(name).suffix.lower() in _IMAGES for name in names):
        return _folders(files, where)
    raise SrkdError(
        f"{where}: no data set: expected the Python files of CIFAR, the idx files of MNIST, or images as "
        "train/<class>/* and test/<class>/*"
    )


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Relative path and content of every file in a folder or tar archive."""
    if root.is_dir():
        for path in sorted(p for p in root.rglob("*") if p.is_file()):
            yield path.relative_to(root).as_posix(), path.read_bytes()
        return
    try:
        with tarfile.open(root) as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isreg() else None
                if file is not None:
                    yield member.name, file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise SrkdError(f"{printable_path(root)}: neither a folder nor a readable tar archive ({error})") from error


def _cifar(files: Files, where: str) -> tuple[list[str], dict[str, Labelled]]:
    """The Python version of CIFAR-10 (five training batches) or CIFAR-100 (one file)."""
    contents = {PurePosixPath(name).name: data for name, data in files.items()}
    ten = "data_batch_1" in contents
    parts = {
        "train": [f"data_batch_{i}" for i in range(1, 6)] if ten else ["train"],
        "test": ["test_batch"] if ten else ["test"],
    }
    meta = "batches.meta" if ten else "meta"
    missing = [name for name in (*parts["train"], *parts["test"], meta) if name not in contents]
    if missing:
        raise SrkdError(f"{where}: the CIFAR file {missing[0]} is missing; unpack the archive again")
    label_key = b"labels" if ten else b"fine_labels"
    splits = {}
    for split, names in parts.items():
        batches = [pickles.load(contents[name], f"{where}: {name}") for name in names]
        try:
            pixels = np.concatenate([np.asarray(batch[b"data"], np.uint8) for batch in batches])
            labels = np.concatenate([np.asarray(batch[label_key], np.int64) for batch in batches])
            # Each row is the red plane, then the green one, then the blue one.
            images = pixels.reshape(len(labels), 3, 32, 32).transpose(0, 2, 3, 1)
        except (KeyError, TypeError, ValueError) as error:
            raise SrkdError(f"{where}: {names[0]} is not a CIFAR batch ({error})") from error
        splits[split] = Labelled(np.ascontiguousarray(images), labels)
    named = pickles.load(contents[meta], f"{where}: {meta}").get(b"label_names" if ten else b"fine_label_names", [])
    return [bytes(name).decode("utf-8", "replace") for name in named], splits


def _idx(files: Files, where: str) -> tuple[list[str], dict[str, Labelled]]:
    """The four idx files of MNIST and Fashion-MNIST, gzipped or not."""
    splits = {}
    for split, prefixes in _IDX.items():
        arrays = []
        for prefix in prefixes:
            name = next((n for n in files if PurePosixPath(n).name.startswith(prefix)), None)
            if name is None:
                raise SrkdError(f"{where}: the file {prefix}-idx*-ubyte is missing")
            arrays.append(_array(files[name], f"{where}: {name}"))
        images, labels = arrays
        if images.ndim != 3 or labels.shape != images.shape[:1]:
            raise SrkdError(f"{where}: {split}: the shapes of images {images.shape} and labels {labels.shape} disagree")
        splits[split] = Labelled(images[..., None], labels.astype(np.int64))
    return [str(i) for i in range(10)], splits


def _array(data: bytes, where: str) -> NDArray[np.uint8]:
    try:
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        shape = tuple(int(n) for n in np.frombuffer(data, ">u4", data[3], 4))
        values = np.frombuffer(data, np.uint8, offset=4 + 4 * len(shape))
        if data[:3] != b"\0\0\x08" or len(values) != math.prod(shape):
            raise ValueError("header and length disagree")
    except (ValueError, IndexError, OSError, EOFError) as error:
        raise SrkdError(f"{where}: not an idx file of bytes ({error})") from error
    return values.reshape(shape)


def _folders(files: Files, where: str) -> tuple[list[str], dict[str, Labelled]]:
    """`train/<class>/*` and `test/<class>/*` (without any, `val`), at any depth; grey images are converted to RGB.
    Hidden files and folders, which systems and editors add, are left out."""
    found: dict[str, list[tuple[str, str]]] = {"train": [], "test": [], "val": []}
    for name in sorted(files):
        parts = PurePosixPath(name).parts
        hidden = any(part.startswith(".") for part in parts[-2:])
        if len(parts) >= 3 and parts[-3] in found and not hidden and PurePosixPath(name).suffix.lower() in _IMAGES:
            found[parts[-3]].append((parts[-2], name))
    found = {"train": found["train"], "test": found["test"] or found["val"]}
    for split, entries in found.items():
        if not entries:
            raise SrkdError(f"{where}: no images under {split}/<class>/")
    names = [PurePosixPath(name).parts for name in files]
    classes = sorted({label for entries in found.values() for label, _ in entries} | _class_folders(names))
    number = {label: i for i, label in enumerate(classes)}
    size: list[tuple[str, tuple[int, ...]]] = []
    return classes, {
        split: Labelled(
            np.stack([_image(files[name], name, where, size) for _, name in entries]),
            np.array([number[label] for label, _ in entries], np.int64),
        )
        for split, entries in found.items()
    }


def _class_folders(names: list[tuple[str, ...]]) -> set[str]:
    """Classes with any file in their folder, even without images (for example .gitkeep): they count as empty."""
    found = {parts[-2] for parts in names if len(parts) >= 3 and parts[-3] in ("train", "test", "val")}
    return {name for name in found if not name.startswith(".")}


def _image(data: bytes, name: str, where: str, size: list[tuple[str, tuple[int, ...]]]) -> NDArray[np.uint8]:
    """Decode to RGB (H, W, 3); `size` stores name and shape of the first image."""
    try:
        pixels = decode_image(data)
    except ValueError as error:
        raise SrkdError(f"{where}: {name}: {error}") from error
    if pixels.dtype != np.uint8:
        raise SrkdError(f"{where}: {name}: {8 * pixels.itemsize} bits per sample; convert it to 8")
    pixels = np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels[..., :3]
    size[:] = size or [(name, pixels.shape)]
    if pixels.shape != size[0][1]:
        (height, width), (first, (h, w, _)) = pixels.shape[:2], size[0]
        raise SrkdError(
            f"{where}: images of mixed sizes: {name} is {width}x{height}, {first} is {w}x{h}; resize them to one size"
        )
    return np.asarray(pixels)

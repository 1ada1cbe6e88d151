"""Small synthetic data sets of four classes: squares with a colour and position per class on noise."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 4


def synthetic(count: int, seed: int, size: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """uint8 images (N, size, size, 3) and labels, classes in rotation."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    images = random.integers(0, 120, (count, size, size, 3))
    for image, label in zip(images, labels, strict=True):
        image[4 * label : 4 * label + 12, 4:20, label % 3] += 130
    return images.astype(np.uint8), labels


def write_cifar100(
    path: Path, names: Any = (b"apple", b"bee", b"cup", b"deer"), test_labels: Any = None, **changes: Any
) -> None:
    """A cifar-100-python.tar.gz of 64 + 32 images, pickled as by Python 2; `changes` modify its train file."""
    contents: dict[str, dict[bytes, Any]] = {
        "meta": {b"fine_label_names": list(names), b"coarse_label_names": [b"all"]}
    }
    for seed, (name, count) in enumerate((("train", 64), ("test", 32))):
        images, labels = synthetic(count, seed)
        rows = images.transpose(0, 3, 1, 2).reshape(count, -1)
        contents[name] = {b"data": rows, b"fine_labels": labels.tolist(), b"coarse_labels": [0] * count}
    for key, value in changes.items():
        contents["train"][key.encode()] = value
    contents["test"][b"fine_labels"] = test_labels or contents["test"][b"fine_labels"]
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            data = pickle.dumps(content, protocol=2)
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

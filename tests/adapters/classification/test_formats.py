"""Every layout is decoded correctly; damaged or malicious files raise one-line errors."""

from __future__ import annotations

import gzip
import os
import pickle
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from support_images import synthetic, write_cifar100

from srkd.adapters.classification import formats, pickles
from srkd.errors import SrkdError


def test_cifar100_from_its_archive(cifar100: Path) -> None:
    classes, splits = formats.decode(cifar100)
    images, labels = synthetic(64, 0)
    assert classes == ["apple", "bee", "cup", "deer"]
    assert np.array_equal(splits["train"].images, images) and np.array_equal(splits["train"].labels, labels)
    assert splits["test"].images.shape == (32, 32, 32, 3)


def test_cifar10_from_its_folder(tmp_path: Path) -> None:
    images, labels = synthetic(12, 0)
    rows = images.transpose(0, 3, 1, 2).reshape(12, -1)
    for number, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        batch = {b"data": rows[2 * number :][:2], b"labels": labels[2 * number :][:2].tolist()}
        (tmp_path / name).write_bytes(pickle.dumps(batch, protocol=2))
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"a", b"b", b"c", b"d"]}, protocol=2))
    _, splits = formats.decode(tmp_path)
    assert np.array_equal(splits["train"].images, images[:10])
    assert splits["test"].labels.tolist() == labels[10:].tolist()


def test_fashion_mnist_gzipped_or_not(tmp_path: Path) -> None:
    for prefix, count in (("train", 6), ("t10k", 4)):
        images, labels = np.arange(count * 28 * 28, dtype=np.uint8).reshape(count, 28, 28), np.arange(count) % 10
        header = b"\0\0\x08\x03" + np.array([count, 28, 28], ">u4").tobytes()
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        data = b"\0\0\x08\x01" + np.array([count], ">u4").tobytes() + labels.astype(np.uint8).tobytes()
        (tmp_path / f"{prefix}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(data))
    classes, splits = formats.decode(tmp_path)
    assert len(classes) == 10 and splits["train"].images.shape == (6, 28, 28, 1)
    assert splits["train"].images[1, 0, 0, 0] == 784 % 256 and splits["test"].labels.tolist() == [0, 1, 2, 3]
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(b"\0\0\x08\x01\0\0\0\x09ab")
    with pytest.raises(SrkdError, match=r"t10k-labels.*not an idx file"):
        formats.decode(tmp_path)


def write_folders(root: Path, size: int = 8) -> None:
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            (root / split / label).mkdir(parents=True)
            for number in range(2):
                image = np.full((size, size, 3), (10, 20, 200 if label == "cat" else 0), np.uint8)
                cv2.imwrite(str(root / split / label / f"{number}.png"), image)


def test_folders_of_images(tmp_path: Path) -> None:
    write_folders(tmp_path)
    cv2.imwrite(str(tmp_path / "train/dog/grey.png"), np.full((8, 8), 7, np.uint8))
    classes, splits = formats.decode(tmp_path)
    assert classes == ["cat", "dog"] and splits["train"].labels.tolist() == [0, 0, 1, 1, 1]
    assert splits["train"].images[0, 0, 0].tolist() == [200, 20, 10]
    assert splits["train"].images[4, 3, 3].tolist() == [7, 7, 7]


def test_validation_images_are_no_test_images(tmp_path: Path) -> None:
    write_folders(tmp_path)
    shutil.copytree(tmp_path / "val" / "dog", tmp_path / "test" / "dog")
    assert formats.decode(tmp_path)[1]["test"].labels.tolist() == [1, 1]


def test_hidden_files_and_folders_are_no_images_and_classes(tmp_path: Path) -> None:
    write_folders(tmp_path)
    shutil.copytree(tmp_path / "train" / "dog", tmp_path / "train" / ".ipynb_checkpoints")
    (tmp_path / "train" / "dog" / "._0.png").write_bytes(b"of another system")
    classes, splits = formats.decode(tmp_path)
    assert classes == ["cat", "dog"] and len(splits["train"].labels) == 4


def test_folders_in_an_archive(tmp_path: Path) -> None:
    write_folders(tmp_path / "set")
    with tarfile.open(tmp_path / "set.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "set", "below/this")
    plain, packed = (formats.decode(tmp_path / name) for name in ("set", "set.tar.gz"))
    assert packed[0] == plain[0] == ["cat", "dog"]
    for split in ("train", "test"):
        assert np.array_equal(packed[1][split].images, plain[1][split].images)


def test_mixed_image_sizes_raise(tmp_path: Path) -> None:
    write_folders(tmp_path)
    cv2.imwrite(str(tmp_path / "val/dog/9.png"), np.zeros((8, 9, 3), np.uint8))
    with pytest.raises(SrkdError, match=r"mixed sizes: val/dog/9.png is 9x8, train/cat/0.png is 8x8"):
        formats.decode(tmp_path)


def test_invalid_data_sets_raise(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(SrkdError, match="no data set: expected the Python files of CIFAR"):
        formats.decode(tmp_path)
    with pytest.raises(SrkdError, match="neither a folder nor a readable tar archive"):
        formats.decode(tmp_path / "notes.txt")
    write_cifar100(tmp_path / "c.tar.gz", fine_labels=None)
    with pytest.raises(SrkdError, match="train is not a CIFAR batch"):
        formats.decode(tmp_path / "c.tar.gz")


class _Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("hacked",)


@pytest.mark.parametrize("thing", [{b"data": _Evil()}, {b"data": np.vectorize}, [1], b"not a pickle"])
def test_pickles_execute_no_code(thing: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = thing if isinstance(thing, bytes) else pickle.dumps(thing)
    with pytest.raises(SrkdError, match=r"train: (not a safe or valid pickle|a pickled list)"):
        pickles.load(data, "train")
    assert not list(tmp_path.iterdir())

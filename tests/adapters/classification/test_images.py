"""Selection of images: deterministic, balanced, disjoint parts; errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support_images import write_cifar100
from test_formats import write_folders

from srkd.adapters.classification import formats, images
from srkd.adapters.order import stratified
from srkd.errors import SrkdError


def test_every_prefix_of_the_order_is_balanced() -> None:
    labels = np.random.default_rng(1).permutation(np.repeat([0, 1, 2], [60, 30, 10]))
    order = stratified(labels)
    assert sorted(order.tolist()) == list(range(100))
    for length in (10, 50, 90):
        counts = np.bincount(labels[order[:length]], minlength=3)
        assert np.abs(counts - length * np.array([0.6, 0.3, 0.1])).max() <= 1


def test_parts_are_deterministic_disjoint_and_balanced(cifar100: Path) -> None:
    found = images.read(cifar100, train=24, held_out=16)
    again = images.read(cifar100, train=24, held_out=16)
    assert np.array_equal(found.train.images, again.train.images)
    assert np.bincount(found.train.labels).tolist() == [6] * 4
    assert np.bincount(found.held_out.labels).tolist() == [4] * 4
    seen = {image.tobytes() for image in found.train.images} | {image.tobytes() for image in found.held_out.images}
    assert len(seen) == 40 and len(found.test.labels) == 32
    assert len(images.read(cifar100, held_out=16).train.labels) == 48


def test_decodes_once_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    decode = formats.decode
    monkeypatch.setattr(formats, "decode", lambda root: calls.append(root) or decode(root))
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "cifar.tar.gz"
    write_cifar100(path)
    images.read(path), images.read(path)
    assert len(calls) == 1
    write_cifar100(path, fine_labels=[3, 2, 1, 0] * 16)
    assert images.read(path).train.labels is not None and len(calls) == 2


def test_an_empty_class_raises(tmp_path: Path) -> None:
    write_folders(tmp_path)
    for split in ("train", "val"):
        (tmp_path / split / "eel").mkdir()
        (tmp_path / split / "eel" / ".gitkeep").touch()
    with pytest.raises(SrkdError, match='train: the class "eel" is empty'):
        images.read(tmp_path)


@pytest.mark.parametrize("wrong", [4, -1])
def test_a_label_out_of_range_raises(wrong: int, tmp_path: Path) -> None:
    write_cifar100(tmp_path / "c.tar.gz", fine_labels=[0, 1, 2, 3] * 15 + [0, 1, 2, wrong])
    with pytest.raises(SrkdError, match=f"train: the label {wrong} is out of range: the 4 classes"):
        images.read(tmp_path / "c.tar.gz")


def test_too_few_images_raise(cifar100: Path) -> None:
    with pytest.raises(SrkdError, match=r"64 training images, but data.train and held_out need 70"):
        images.read(cifar100, train=60, held_out=10)

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from srkd.data.store import GIVEN, MATLAB_BICUBIC, ImageStore, build_store, open_or_build, pair_files
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.images.resize import imresize, modcrop

RNG = np.random.default_rng(0)


def save(path: Path, height: int = 9, width: int = 11, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    pixels = RNG.integers(0, np.iinfo(dtype).max + 1, (height, width, channels), dtype=dtype)
    write_image(path, ImageData(pixels))
    return pixels


def test_hr_is_cropped_and_lr_made_by_imresize(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.png"), save(tmp_path / "b.png", 16, 5, 1)
    store = build_store([tmp_path / "a.png", tmp_path / "b.png"], tmp_path / "store", 2)
    assert len(store) == 2
    assert [store.name(i) for i in range(2)] == ["a", "b"]
    assert [store.is_grey(i) for i in range(2)] == [False, True]
    np.testing.assert_array_equal(store.hr(0), modcrop(a, 2))
    np.testing.assert_array_equal(store.hr(1), np.repeat(b[:, :4], 3, axis=2))
    for i in range(2):
        np.testing.assert_array_equal(store.lr(i), imresize(np.ascontiguousarray(store.hr(i)), 0.5))
    assert store.lr_protocol == MATLAB_BICUBIC
    assert store.size == sum(store.hr(i).size + store.lr(i).size for i in range(2))
    assert not store.hr(0).flags.writeable


def test_store_without_a_scale_keeps_whole_images(tmp_path: Path) -> None:
    a = save(tmp_path / "a.png")
    store = build_store([tmp_path / "a.png"], tmp_path / "store", None)
    np.testing.assert_array_equal(store.hr(0), a)
    with pytest.raises(SrkdError, match="no LR images"):
        store.lr(0)


def test_sixteen_bits_are_rounded(tmp_path: Path) -> None:
    deep = save(tmp_path / "a.png", dtype=np.uint16)
    store = build_store([tmp_path / "a.png"], tmp_path / "store", None)
    np.testing.assert_array_equal(store.hr(0), np.floor(deep / 257 + 0.5))


def test_opening_pickling_and_fingerprint(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    built = build_store([tmp_path / "a.png"], tmp_path / "store", 2)
    opened = ImageStore.open(tmp_path / "store")
    assert opened.fingerprint == built.fingerprint
    assert build_store([tmp_path / "a.png"], tmp_path / "other", 2).fingerprint == built.fingerprint
    assert build_store([tmp_path / "a.png"], tmp_path / "other", 3).fingerprint != built.fingerprint
    dumped = pickle.dumps(opened)
    assert len(dumped) < 1000
    np.testing.assert_array_equal(pickle.loads(dumped).hr(0), built.hr(0))


def test_a_changed_source_triggers_a_rebuild(tmp_path: Path) -> None:
    path, folder = tmp_path / "a.png", tmp_path / "store"
    save(path)
    first = open_or_build([path], 2, folder=folder)
    index = (folder / "index.json").stat().st_mtime_ns
    os.utime(path)
    assert open_or_build([path], 2, folder=folder).fingerprint == first.fingerprint
    assert (folder / "index.json").stat().st_mtime_ns == index  # only touched: not rebuilt
    kept = first.hr(0)
    expected = kept.copy()
    changed = save(path)
    with pytest.raises(SrkdError, match=r"a\.png changed since"):
        ImageStore.open(folder)
    second = open_or_build([path], 2, folder=folder)
    np.testing.assert_array_equal(second.hr(0), modcrop(changed, 2))
    np.testing.assert_array_equal(kept, expected)  # a reader of the old store keeps it
    assert len(list(folder.glob("pixels-*"))) == 1
    path.unlink()
    assert ImageStore.open(folder).fingerprint == second.fingerprint


def test_another_scale_or_order_is_another_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    save(a), save(b)
    stores = [open_or_build(images, scale) for images, scale in (([a, b], 2), ([b, a], 2), ([a, b], 4))]
    assert len({store.folder for store in stores}) == 3
    assert all(store.folder.is_relative_to(tmp_path / "cache" / "stores") for store in stores)
    assert [stores[1].name(i) for i in range(2)] == ["b", "a"]


def _zeros(folder: Path) -> None:
    (pixels,) = folder.glob("pixels-*")
    pixels.write_bytes(bytes(pixels.stat().st_size))


def _edited(folder: Path) -> None:
    index = folder / "index.json"
    index.write_text(index.read_text().replace('"name": "a"', '"name": "b"'))


def _writable(folder: Path) -> None:
    (folder / "index.json").chmod(0o666)


@pytest.mark.parametrize("damage", [_zeros, _edited, _writable])
def test_a_damaged_or_foreign_store_is_rebuilt(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    image = save(tmp_path / "a.png")
    for folder in (None, tmp_path / "store"):
        place = open_or_build([tmp_path / "a.png"], 2, folder=folder).folder
        damage(place)
        store = open_or_build([tmp_path / "a.png"], 2, folder=folder)
        np.testing.assert_array_equal(store.hr(0), modcrop(image, 2))
        assert store.name(0) == "a" and (place / "index.json").stat().st_mode & 0o002 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_a_store_of_another_user_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    image = save(tmp_path / "a.png")
    theirs = open_or_build([tmp_path / "a.png"], 2)
    _zeros(theirs.folder)
    for path in (theirs.folder, *theirs.folder.iterdir()):
        os.chown(path, 4321, -1)
    ours = open_or_build([tmp_path / "a.png"], 2)
    assert ours.folder == theirs.folder.with_name(f"{theirs.folder.name}-0")
    np.testing.assert_array_equal(ours.hr(0), modcrop(image, 2))
    assert open_or_build([tmp_path / "a.png"], 2).folder == ours.folder


def test_several_at_once_build_one_store(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda _: open_or_build([tmp_path / "a.png"], 2, folder=tmp_path / "store"), range(8)))
    assert len({store.fingerprint for store in stores}) == 1
    assert len({store.hr(0).tobytes() for store in stores}) == 1


def test_pairs(tmp_path: Path) -> None:
    hr, lr = tmp_path / "hr", tmp_path / "lr"
    for name in ("0001", "0002"):
        save(hr / f"{name}.png", 8, 12)
        low = save(lr / f"{name}x2.png", 4, 6)
    hr_files = sorted(hr.iterdir())
    lr_files = pair_files(hr_files, sorted(lr.iterdir()), 2)
    store = build_store(hr_files, tmp_path / "store", 2, lr_files)
    np.testing.assert_array_equal(store.lr(1), low)
    assert store.lr_protocol == GIVEN
    assert open_or_build(hr_files, 2, lr_files, tmp_path / "store").fingerprint == store.fingerprint


def test_pairs_and_images_of_the_same_files_are_two_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    hr, lr = tmp_path / "a_HR.png", tmp_path / "a_LR.png"
    save(hr, 8, 8), save(lr, 4, 4)
    assert len(open_or_build([hr, lr], 2)) == 2
    assert len(pairs := open_or_build([hr], 2, [lr])) == 1 and pairs.lr_protocol == GIVEN
    assert len(open_or_build([hr, lr], 2, folder=pairs.folder)) == 2


def test_pairs_that_do_not_match_are_reported(tmp_path: Path) -> None:
    save(tmp_path / "hr" / "a.png", 8, 12)
    save(tmp_path / "lr" / "a.png", 4, 5)
    hr, lr = [tmp_path / "hr" / "a.png"], [tmp_path / "lr" / "a.png"]
    with pytest.raises(
        SrkdError, match=r"hr/a\.png and .*lr/a\.png: the LR image is 5x4, but HR 12x8 divided by 2 is 6x4"
    ):
        build_store(hr, tmp_path / "store", 2, lr)
    save(tmp_path / "hr" / "b.png")
    with pytest.raises(SrkdError, match=r"hr/b\.png: no LR image"):
        pair_files([*hr, tmp_path / "hr" / "b.png"], lr, 2)
    with pytest.raises(SrkdError, match=r"lr/c\.png: no HR image"):
        pair_files(hr, [*lr, tmp_path / "lr" / "c.png"], 2)


def test_all_bad_images_are_reported_and_nothing_is_left(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"")
    (tmp_path / "c.png").write_bytes(b"not an image")
    save(tmp_path / "d.png", 1, 1)
    with pytest.raises(
        SrkdError, match=r"3 of 4 images.*b\.png: the file is empty.*c\.png: not an im.*d\.png: 1x1 is"
    ) as e:
        build_store([tmp_path / f"{n}.png" for n in "abcd"], tmp_path / "store", 2)
    assert "\n" not in str(e.value)
    assert list((tmp_path / "store").iterdir()) == []


def test_folders_that_are_no_store(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    folder = build_store([tmp_path / "a.png"], tmp_path / "store", 2).folder
    with pytest.raises(SrkdError, match="no image store"):
        ImageStore.open(tmp_path)
    next(folder.glob("pixels-*")).write_bytes(b"short")
    with pytest.raises(SrkdError, match="damaged"):
        ImageStore.open(folder)
    assert open_or_build([tmp_path / "a.png"], 2, folder=folder).hr(0).shape == (8, 10, 3)
    (folder / "index.json").write_text("[]")
    with pytest.raises(SrkdError, match="damaged"):
        ImageStore.open(folder)
    with pytest.raises(SrkdError, match="no images"):
        build_store([], folder, 2)


def test_equal_names_in_several_folders_are_distinguished(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        save(tmp_path / folder / "a.png")
    store = build_store([tmp_path / "x" / "a.png", tmp_path / "y" / "a.png"], tmp_path / "store", None)
    assert [store.name(i) for i in range(2)] == ["x/a.png", "y/a.png"]

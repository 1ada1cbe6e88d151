"""Selection of a recipe's images, and pairing of LR and HR files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.sr.recipe import TrainSet, ValSet
from srkd.sr.training_images import training_images, validation_images


def save(folder: Path, names: Sequence[str], side: int = 8, start: int = 0) -> Path:
    """Write images of constant values `start`, `start` + 1, ..., which identify them."""
    for value, name in enumerate(names, start):
        write_image(folder / f"{name}.png", ImageData(np.full((side, side, 3), value, np.uint8)))
    return folder


def train(dataroot_gt: Path | list[Path], dataroot_lq: Path | list[Path] | None = None, **settings: Any) -> TrainSet:
    roots = {"dataroot_gt": dataroot_gt, "dataroot_lq": dataroot_lq}
    named = {
        key: [str(path) for path in root] if isinstance(root, list) else root and str(root)
        for key, root in roots.items()
    }
    return TrainSet(**named, **settings)


def values(spec: TrainSet) -> list[tuple[int, int]]:
    """(value of HR, value of LR) of each image."""
    store = training_images(spec, 2)
    return [(int(store.hr(i)[0, 0, 0]), int(store.lr(i)[0, 0, 0])) for i in range(len(store))]


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    return save(tmp_path / "hr", ["a", "b", "c"])


def test_meta_info_file_selects_images(hr: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("c.png (8,8,3)\n\na.png\nc.png (8,8,3)\n")
    spec = train(dataroot_gt=hr, meta_info_file=str(tmp_path / "list.txt"))
    assert [value for value, _ in values(spec)] == [2, 0]
    lr = save(tmp_path / "lr", ["a", "b", "c"], 4, 10)
    assert values(spec.model_copy(update={"dataroot_lq": str(lr)})) == [(2, 12), (0, 10)]
    spec = ValSet(name="v", dataroot_gt=str(hr), meta_info_file=str(tmp_path / "list.txt"))
    assert len(validation_images(spec, 2)) == 2


def test_meta_info_file_with_subfolders_and_several_roots(hr: Path, tmp_path: Path) -> None:
    save(tmp_path / "more" / "below", ["d"], start=7)
    (tmp_path / "list.txt").write_text("below/d.png (8,8,3)\nb.png (8,8,3)\n")
    spec = train(dataroot_gt=[hr, tmp_path / "more"], meta_info_file=str(tmp_path / "list.txt"))
    assert sorted(value for value, _ in values(spec)) == [1, 7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png\nbb.png (8,8,3)\n", r'list\.txt, line 2: no image bb\.png in .*hr .did you mean "b\.png"'),
        ("\n", "contains no image names"),
        (None, "cannot read the meta_info_file: No such file"),
    ],
)
def test_an_invalid_meta_info_file_raises(hr: Path, tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "list.txt").write_text(text)
    with pytest.raises(SrkdError, match=message):
        values(train(dataroot_gt=hr, meta_info_file=str(tmp_path / "list.txt")))


def test_lr_files_are_found_by_the_template(hr: Path, tmp_path: Path) -> None:
    lr = save(tmp_path / "lr", ["a_low", "b_low", "c_low"], 4, 10)
    assert values(train(dataroot_gt=hr, dataroot_lq=lr, filename_tmpl="{}_low")) == [(0, 10), (1, 11), (2, 12)]
    with pytest.raises(SrkdError, match=r"hr/a\.png: no LR image of its name \(looked for a_lo\)"):
        values(train(dataroot_gt=hr, dataroot_lq=lr, filename_tmpl="{}_lo"))


@pytest.mark.parametrize("template", ["low", "{}_{}", "{0}", "{name}x2", "{:s}"])
def test_a_template_must_contain_the_name_once(hr: Path, template: str) -> None:
    with pytest.raises(ValueError, match=r"must contain \{\} once"):
        train(dataroot_gt=hr, filename_tmpl=template)


def test_excluded_images_need_no_lr_file(hr: Path, tmp_path: Path) -> None:
    spec = train(dataroot_gt=hr, dataroot_lq=save(tmp_path / "lr", ["a", "b", "c"], 4, 10), exclude=["b"])
    assert values(spec) == [(0, 10), (2, 12)]
    (tmp_path / "lr" / "b.png").unlink()
    assert values(spec) == [(0, 10), (2, 12)]
    only = ValSet(name="v", dataroot_gt=str(hr), dataroot_lq=str(tmp_path / "lr"), only=["c"])
    assert len(validation_images(only, 2)) == 1
    save(tmp_path / "lr", ["d"], 4)
    with pytest.raises(SrkdError, match=r"lr/d\.png: no HR image of its name"):
        values(spec)


def test_names_that_match_no_image_raise(hr: Path) -> None:
    with pytest.raises(SrkdError, match=r'exclude: "a\.png" matches no image .did you mean "a".*without suffix'):
        values(train(dataroot_gt=hr, exclude=["b", "a.png"]))
    with pytest.raises(SrkdError, match=r'only of the validation set "v": "d" matches no image'):
        validation_images(ValSet(name="v", dataroot_gt=str(hr), only=["a", "d"]), 2)


def test_folders_are_paired_in_order_if_names_repeat(hr: Path, tmp_path: Path) -> None:
    more, lr = save(tmp_path / "more", ["a", "b"], start=5), save(tmp_path / "lr", ["a", "b", "c"], 4, 10)
    lower = save(tmp_path / "lower", ["a", "b"], 4, 15)
    expected = [(0, 10), (1, 11), (2, 12), (5, 15), (6, 16)]
    assert values(train(dataroot_gt=[hr, more], dataroot_lq=[lr, lower])) == expected
    with pytest.raises(SrkdError, match="image of its name"):
        values(train(dataroot_gt=[hr, more], dataroot_lq=[lower, lr]))
    with pytest.raises(SrkdError, match=r"of both .*hr/a\.png and .*more/a\.png; .* give as many LR as HR folders"):
        values(train(dataroot_gt=[hr, more], dataroot_lq=lr))
    with pytest.raises(SrkdError, match="two LR images of its name"):
        values(train(dataroot_gt=hr, dataroot_lq=[lr, lower]))


def test_folders_with_distinct_names_are_paired_in_any_order(hr: Path, tmp_path: Path) -> None:
    more = save(tmp_path / "more", ["d"], start=5)
    lr, lower = save(tmp_path / "lr", ["a", "b", "c"], 4, 10), save(tmp_path / "lower", ["d"], 4, 15)
    expected = [(0, 10), (1, 11), (2, 12), (5, 15)]
    assert values(train(dataroot_gt=[hr, more], dataroot_lq=[lower, lr])) == expected


def test_an_lmdb_raises(tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / "data.mdb").touch()
    for root in (tmp_path / "DIV2K.lmdb", tmp_path / "unpacked"):
        with pytest.raises(SrkdError, match="not LMDB: give the folder of images"):
            values(train(dataroot_gt=root))

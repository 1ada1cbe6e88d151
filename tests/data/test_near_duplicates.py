"""Near-duplicates of evaluation images are found under every transformation, without false positives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from srkd.cli.main import main
from srkd.data import manifests, near_duplicates
from srkd.data.near_duplicates import FEWEST_FEATURES, Index, Reference, check, describe, grey
from srkd.data.store import build_store
from srkd.errors import SrkdError
from srkd.images.read import ImageData, list_images, read_image, write_image
from srkd.sr.recipe import TrainSet
from srkd.sr.training_images import training_images

Image = np.ndarray


def scene(seed: int, height: int = 180, width: int = 220) -> Image:
    """A uint8 RGB image of overlapping polygons: corners and areas in random places, different for each seed."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(60):
        corners = rng.integers(-20, (width + 20, height + 20), (1, 2)) + rng.integers(-30, 30, (4, 2))
        cv2.fillPoly(image, [corners.astype(np.int32)], [int(c) for c in rng.integers(0, 256, 3)])
    return image


def crop(image: Image, share: float) -> Image:
    """An off-centre crop with that share of the image's area."""
    height, width = (round(n * share**0.5) for n in image.shape[:2])
    top, left = (image.shape[0] - height) // 3, (image.shape[1] - width) // 3
    return image[top : top + height, left : left + width]


def scale(image: Image, factor: float) -> Image:
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=way)


def jpeg(image: Image, quality: int) -> Image:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)


def brighter(image: Image) -> Image:
    return np.clip(image * 1.2 + 20.0, 0, 255).astype(np.uint8)


def inside_another(image: Image) -> Image:
    """The image, at 0.7 of its size, as a part of a larger one."""
    whole, part = scene(99, 500, 600), scale(image, 0.7)
    whole[100 : 100 + part.shape[0], 200 : 200 + part.shape[1]] = part
    return whole


DISGUISES: dict[str, Callable[[Image], Image]] = {
    "none": lambda image: image,
    "cropped": lambda image: crop(image, 0.6),
    "half": lambda image: scale(image, 0.5),
    "enlarged": lambda image: scale(image, 1.5),
    "mirrored": lambda image: image[:, ::-1],
    "upside down": lambda image: image[::-1],
    "turned": np.rot90,
    "stretched": lambda image: cv2.resize(image, None, fx=1.0, fy=1.3),
    "recompressed": lambda image: jpeg(image, 50),
    "brighter": brighter,
    "darker": lambda image: (image * 0.6).astype(np.uint8),
    "grey": lambda image: grey(image, 10_000)[..., None],
    "a part": inside_another,
    "all together": lambda image: jpeg(brighter(scale(crop(image, 0.6), 0.8))[:, ::-1], 50),
}


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> list[Reference]:
    """Five evaluation images, one of them nearly flat."""
    folder = tmp_path_factory.mktemp("evaluation")
    images = [scene(seed) for seed in range(4)] + [np.full((90, 120, 3), 130, np.uint8)]
    for number, image in enumerate(images):
        write_image(folder / f"e{number}.png", ImageData(image))
    return [Reference("Tiny/test", path) for path in list_images(folder)]


@pytest.fixture(scope="module")
def index(evaluation: list[Reference]) -> Index:
    return Index(evaluation)


@pytest.mark.parametrize("name", list(DISGUISES))
def test_transformed_copies_are_found(index: Index, name: str) -> None:
    for seed in (0, 3):
        found = index.search("mine.png", np.ascontiguousarray(DISGUISES[name](scene(seed))))
        assert found is not None and Path(found.reference).stem == f"e{seed}" and found.correlation > 0.9
        assert found.mirrored == (name in ("mirrored", "upside down", "all together"))


def test_a_test_set_takes_precedence(tmp_path: Path) -> None:
    write_image(tmp_path / "plain.png", ImageData(scene(0)))
    write_image(tmp_path / "brighter.png", ImageData(brighter(scene(0))))
    references = [
        Reference("Tiny/validation", tmp_path / "plain.png", "validation"),
        Reference("Tiny/test", tmp_path / "brighter.png"),
    ]
    found = Index(references).search("mine.png", scene(0))
    assert found is not None and found.set_name == "Tiny/test"


def test_other_images_are_no_duplicates(index: Index) -> None:
    y, x = np.mgrid[:150, :200]
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    smooth = np.repeat(((x + y) / 3).astype(np.uint8)[..., None], 3, 2)  # a sky
    stripes = np.repeat((x // 8 % 2 * 255).astype(np.uint8)[..., None], 3, 2)
    others = [scene(seed) for seed in range(10, 16)]
    for image in (noise, smooth, stripes, np.zeros_like(noise), noise[:1, :1], *others):
        assert index.search("mine.png", image) is None
    assert len(describe(grey(smooth, 200), 500).points) < FEWEST_FEATURES


def test_an_empty_index_finds_nothing(tmp_path: Path) -> None:
    assert Index([]).search("mine.png", scene(0)) is None
    write_image(tmp_path / "flat.png", ImageData(np.zeros((40, 40, 3), np.uint8)))
    assert Index([Reference("Tiny/test", tmp_path / "flat.png")]).search("mine.png", scene(0)) is None


def test_a_cached_index_is_reused(evaluation: list[Reference], index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("described again")

    Index(evaluation)
    monkeypatch.setattr(near_duplicates, "describe", never)
    for made, read in zip(index.features, Index(evaluation).features, strict=True):
        assert np.array_equal(made.points, read.points) and np.array_equal(made.descriptors, read.descriptors)
        assert (made.height, made.width) == (read.height, read.width)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, evaluation: list[Reference]) -> Path:
    """A folder of clean images, a smooth one and a near-duplicate, compared with `evaluation` only."""
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(near_duplicates, "references", lambda mirror=None: evaluation)
    for name, image in {
        "clean1": scene(20),
        "clean2": scene(21),
        "fog": np.full((64, 64, 3), 200, np.uint8),
        "holiday": DISGUISES["all together"](scene(2, 360, 440)[:180, :220]),
        "leak": DISGUISES["all together"](scene(2)),
    }.items():
        write_image(tmp_path / "mine" / f"{name}.png", ImageData(np.ascontiguousarray(image)))
    return tmp_path / "mine"


def test_a_store_is_compared_once(mine: Path, index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    store = build_store(list_images(mine), mine.parent / "store", 2)
    seen: list[tuple[int, int]] = []
    checked = check(store, index, lambda done, whole: seen.append((done, whole)))
    (found,) = checked.duplicates
    assert (Path(found.image).name, Path(found.reference).name, found.mirrored) == ("leak.png", "e2.png", True)
    assert [Path(path).stem for path in checked.smooth] == ["fog"]
    assert seen == [(n, 5) for n in range(1, 6)]
    monkeypatch.setattr(Index, "search", None)
    assert check(store, index) == checked
    (mine / "leak.png").rename(mine / "other.png")  # identified by its content
    renamed = check(build_store(list_images(mine), mine.parent / "store", 2), index)
    assert [Path(d.image).name for d in renamed.duplicates] == ["other.png"]


def test_training_rejects_known_duplicates(mine: Path, index: Index) -> None:
    spec = TrainSet(dataroot_gt=str(mine), gt_size=16)
    check(training_images(spec, 2), index)
    with pytest.raises(SrkdError, match=r"leak\.png is a near-duplicate of .*e2\.png \(Tiny/test\): mirrored.*exclude"):
        training_images(spec, 2)
    assert len(training_images(spec.model_copy(update={"exclude": ["leak"]}), 2)) == 4


def test_a_duplicate_of_a_set_that_is_not_at_hand_stays_known(mine: Path, index: Index, tmp_path: Path) -> None:
    store = build_store(list_images(mine), tmp_path / "store", 2)
    assert len(check(store, index).duplicates) == 1
    write_image(tmp_path / "o.png", ImageData(scene(50)))
    other = Index([Reference("Other/test", tmp_path / "o.png")])
    assert [Path(found.reference).name for found in check(store, other).duplicates] == ["e2.png"]
    with pytest.raises(SrkdError, match=r"leak\.png is a near-duplicate of .*e2\.png"):
        near_duplicates.refuse_known([store.source(number) for number in range(len(store))])
    # The same image at hand, but no longer alike: the verdict is the new one.
    write_image(tmp_path / "e2.png", ImageData(scene(51)))
    assert not check(store, Index([Reference("Tiny/test", tmp_path / "e2.png")])).duplicates


def test_the_command_names_and_shows_the_pair(mine: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    command = ["prepare_data", str(mine), "--scale", "2"]
    assert main([*command, "--pairs", str(tmp_path / "pairs")]) == 1
    out, err = capsys.readouterr()
    assert f"1 near-duplicates of 5 images of Tiny/test; too smooth to compare: {mine / 'fog.png'}" in out
    assert "leak.png is a near-duplicate of" in out and "leak.png is a near-duplicate of" in err
    assert len([line for line in err.splitlines() if line.startswith("srkd: ")]) == 1
    (shown,) = list_images(tmp_path / "pairs")
    assert shown.name == "leak-e2.png" and read_image(shown).pixels.shape[1] > 220
    assert main([*command, "--exclude", "leak"]) == 0
    assert ": 0 near-duplicates of 5 images" in capsys.readouterr().out
    assert main([*command, "--evaluation"]) == 0
    assert "near-duplicate" not in capsys.readouterr().out


def test_without_evaluation_images_the_command_reports_it(
    mine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "references", lambda mirror=None: [])
    assert main(["prepare_data", str(mine), "--scale", "2"]) == 0
    assert "not compared with evaluation images: none found" in capsys.readouterr().out


def test_local_evaluation_sets(data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SRKD_DATA", raising=False)
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path))
    assert near_duplicates.references() == []
    sets = {reference.set_name for reference in near_duplicates.references(data)}
    assert {"Set5/test", "Set14/test", "B100/test", "BSDS500/validation", "BSDS500/leaked"} <= sets
    assert not any(manifests.manifest(name).parts[part].role == "train" for name, part in (s.split("/") for s in sets))


@pytest.fixture(scope="module")
def set5(data: Path) -> Index:
    return Index([Reference("Set5/test", path) for path in manifests.at_hand("Set5", "test", data)])


@pytest.mark.parametrize(
    "name", ["none", "cropped", "half", "enlarged", "mirrored", "recompressed", "brighter", "all together"]
)
def test_the_leak_in_bsds500(data: Path, set5: Index, name: str) -> None:
    pixels = read_image(data / "sr" / "train" / "BSDS500_train" / "302003.jpg").colour
    found = set5.search("302003.jpg", np.ascontiguousarray(DISGUISES[name](pixels)))
    assert found is not None and Path(found.reference).stem == "woman" and found.correlation > 0.9


def test_photographs_without_a_leak(data: Path, set5: Index) -> None:
    for name, part in (("BSDS500", "train"), ("BSDS500", "test"), ("T91", "train"), ("CID22", "train")):
        for path in manifests.at_hand(name, part, data)[::100]:
            assert set5.search(path.name, read_image(path).colour) is None, path


def test_every_training_set_with_checksums_was_compared_in_full() -> None:
    kept = (Path(__file__).parents[2] / "datasets" / "near_duplicates.txt").read_text(encoding="utf-8")
    for name in manifests.names():
        parts = {key.partition("/")[0] for key in manifests.checksums(name)}
        for part in parts:
            if manifests.manifest(name).parts[part].role == "train":
                assert f"{name}/{part}: 0 near-duplicates of 140 images of B100/test" in kept

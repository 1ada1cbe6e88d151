from pathlib import Path

import numpy as np
import pytest

from srkd.data import near_duplicates, roles
from srkd.data.photos import LARGEST, Photo, boxes, crops, find, split, write
from srkd.errors import SrkdError
from srkd.files.digest import file_sha256
from srkd.images.read import ImageData, read_rgb, write_image
from srkd.images.resize import shrunk_size
from support import textured


@pytest.mark.parametrize("size", [(321, 481), (1200, 1800), (512, 513), (100, 2040)])
@pytest.mark.parametrize("side", [512, 256])
def test_boxes_cover_an_image_once(size: tuple[int, int], side: int) -> None:
    seen = np.zeros(size, int)
    for top, left, height, width in boxes(size, side):
        assert 0 < height <= side and 0 < width <= side
        seen[top : top + height, left : left + width] += 1
    assert (seen == 1).all()


def test_every_photograph_gives_a_crop_before_any_gives_two() -> None:
    photos = [Photo(Path(f"{n}.png"), (200, 300)) for n in range(5)]
    found = crops(photos, 100, 8 * 100 * 100, 16, seed=0)
    counts = [sum(photo is p for p, _ in found) for photo in photos]
    assert len(found) == 8 and set(counts) == {1, 2}
    assert found == crops(photos, 100, 8 * 100 * 100, 16, seed=0)
    assert len(crops(photos, 100, 1e9, 16, seed=0)) == 5 * 6
    assert crops(photos, 100, 99 * 100, 16, seed=0) == []


def test_the_photographs_are_split_by_image() -> None:
    for count in (4, 12, 55, 500):
        photos = [Photo(Path(f"{n}.png"), (100, 100)) for n in range(count)]
        training, held = split(photos)
        assert 2 <= len(held) <= 8 and not set(training) & set(held) and len(training) + len(held) == count
    assert {photo.path.stem for photo in split(photos)[1]} >= {"31"}  # evenly spaced: not the first eight


def test_crops_are_pieces_of_their_photographs(six: str, tmp_path: Path) -> None:
    photos, left_out = find([six], 16)
    assert len(photos) == 6 and not any(left_out.values())
    chosen = crops(photos, 32, 1e9, 16, seed=0)
    write(chosen, tmp_path / "crops", lambda done, name: None)
    files = sorted((tmp_path / "crops").glob("*.png"))
    assert len(files) == len(chosen)
    for file in files:
        whole = read_rgb(next(p.path for p in photos if p.path.stem == file.stem.split("_")[-1]))
        part = read_rgb(file)
        windows = np.lib.stride_tricks.sliding_window_view(whole, part.shape)[..., 0, :, :, :]
        assert (windows == part).all(axis=(-3, -2, -1)).any()


def test_large_photographs_are_shrunk(tmp_path: Path) -> None:
    write_image(tmp_path / "large.png", ImageData(textured(0, 30, 4080)))
    assert shrunk_size(30, 4080, LARGEST) == (15, 2040)
    write([(Photo(tmp_path / "large.png", (15, 2040)), (0, 0, 15, 512))], tmp_path / "out", lambda *_: None)
    assert read_rgb(next((tmp_path / "out").glob("*.png"))).shape == (15, 512, 3)


def test_too_few_and_too_small_photographs(six: str, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=r"0 photographs, at least 4 are needed; 6 more are smaller than 96x96"):
        find([six], 96)
    with pytest.raises(SrkdError, match="2 photographs, at least 4 are needed"):
        find([f"{six}/more"], 16)
    with pytest.raises(SrkdError, match="no such folder"):
        find([str(tmp_path / "nowhere")], 16)


def test_copies_are_left_out(six: str, tmp_path: Path) -> None:
    """One of two equal photographs could be held out, and the other trained on."""
    copy = tmp_path / "copy.png"
    copy.write_bytes((Path(six) / "p3.png").read_bytes())
    photos, left_out = find([six, six, str(tmp_path)], 16)
    assert photos == find([six], 16)[0] and left_out["equal to others"] == 7


def test_images_of_an_evaluation_set_raise(data: Path) -> None:
    with pytest.raises(SrkdError, match=r"is an image of Set5.* must not be trained on"):
        find([str(data / "sr" / "eval" / "Set5")], 16)


def test_images_of_a_validation_set_are_left_out(six: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = {file_sha256(Path(six) / "p1.png"): ("Ours/validation", "validation")}
    monkeypatch.setattr(roles, "_roles", lambda: known)
    photos, left_out = find([six], 16)
    assert "p1" not in [photo.path.stem for photo in photos] and len(photos) == 5
    assert left_out["of a validation set"] == 1


def test_known_near_duplicates_are_not_trained_on(six: str, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = sorted(Path(six).glob("*.png"))[0]
    found = {"set_name": "Set5/test", "reference": "woman.png", "correlation": 0.98, "overlap": 0.7, "mirrored": False}
    monkeypatch.setattr(near_duplicates, "_verdicts", lambda: {file_sha256(photo): {"duplicate": found}})
    with pytest.raises(SrkdError, match=rf"{photo.name} is a near-duplicate of woman\.png \(Set5/test\)"):
        find([six], 16)

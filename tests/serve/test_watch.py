"""A watched folder: what is upscaled, when, and what stays as it is."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serve.conftest import Live

from srkd.images.read import ImageData, image_size, write_image
from srkd.serve.queue import ImageQueue
from srkd.serve.watch import FolderWatch
from support import textured


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def watch(server: Live, tmp_path: Path, said: list[str]) -> Iterator[FolderWatch]:
    (tmp_path / "in").mkdir()
    yield FolderWatch(server.ready.queue, tmp_path / "in", tmp_path / "out", "auto", None, said.append)


def finish(watch: FolderWatch) -> list[str]:
    """Wait for the queue; returns the names in the output folder."""
    deadline = time.monotonic() + 120
    while any(image.state in ("queued", "running") for image in watch.queue):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return sorted(path.name for path in watch.target.iterdir()) if watch.target.exists() else []


def image(path: Path, seed: int = 0) -> None:
    write_image(path, ImageData(textured(seed, 10, 14)))


def test_new_images_are_upscaled_once(watch: FolderWatch, server: Live) -> None:
    image(watch.source / "a.png")
    (watch.source / "notes.txt").touch()
    (watch.source / ".hidden.png").touch()
    (watch.source / "sub").mkdir()
    image(watch.source / "sub" / "deep.png")
    watch.look()
    assert not list(watch.queue), "it may still be being written"
    watch.look()
    assert [entry.name for entry in watch.queue] == ["a.png"]
    assert finish(watch) == ["a.png"] and image_size(watch.target / "a.png") == (20, 28)
    watch.look()
    assert len(list(watch.queue)) == 1
    (entry,) = watch.queue
    assert server.call("GET", f"/api/jobs/{entry.id}").json["from_folder"] is True
    assert server.call("GET", f"/api/jobs/{entry.id}/before").body == (watch.source / "a.png").read_bytes()


def test_a_file_that_still_grows_waits(watch: FolderWatch) -> None:
    image(watch.source / "a.png")
    whole = (watch.source / "a.png").read_bytes()
    for size in (50, 100, 150):
        (watch.source / "a.png").write_bytes(whole[:size])
        watch.look()
        assert not list(watch.queue)
    (watch.source / "a.png").write_bytes(whole)
    watch.look()
    watch.look()
    assert finish(watch) == ["a.png"]


def test_existing_results_are_neither_overwritten_nor_computed_again(watch: FolderWatch) -> None:
    image(watch.source / "a.png")
    watch.target.mkdir()
    (watch.target / "a.png").write_text("mine", encoding="utf-8")
    watch.look()
    watch.look()
    assert not list(watch.queue) and (watch.target / "a.png").read_text(encoding="utf-8") == "mine"


def test_a_damaged_image_is_named_once_and_tried_again_when_it_changes(watch: FolderWatch, said: list[str]) -> None:
    (watch.source / "a.png").write_bytes(b"no image")
    for _ in range(4):
        watch.look()
    (line,) = said
    assert "a.png" in line and "not an image" in line
    image(watch.source / "a.png")
    os.utime(watch.source / "a.png", ns=(1, 1))
    watch.look()
    watch.look()
    assert finish(watch) == ["a.png"]


def test_an_image_beyond_the_limits_is_named(watch: FolderWatch, said: list[str]) -> None:
    write_image(watch.source / "large.png", ImageData(textured(0, 600, 500)))
    watch.look()
    watch.look()
    assert len(said) == 1 and "large.png" in said[0] and "more than the limit of 1" in said[0]


def test_removing_from_the_list_leaves_the_files(watch: FolderWatch, server: Live) -> None:
    image(watch.source / "a.png")
    watch.look()
    watch.look()
    finish(watch)
    assert server.call("DELETE", "/api/jobs").status == 204
    assert not list(watch.queue)
    assert (watch.source / "a.png").is_file() and (watch.target / "a.png").is_file()
    watch.look()
    assert not list(watch.queue)


def test_a_list_that_a_request_clears_meanwhile_does_not_end_the_watch(
    watch: FolderWatch, server: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        image(watch.source / f"{number}.png", number)
    for _ in range(2):
        watch.look()
    finish(watch)
    listed = list(watch.queue)
    assert len(listed) == 3 and server.call("DELETE", "/api/jobs").status == 204
    with monkeypatch.context() as patch:
        patch.setattr("srkd.serve.watch._KEPT", 1)
        patch.setattr(ImageQueue, "__iter__", lambda self: iter(listed))  # as it was before the request
        watch.look()
    assert not list(watch.queue)


def test_a_result_that_its_user_took_away_is_named(watch: FolderWatch, server: Live) -> None:
    image(watch.source / "a.png")
    watch.look()
    watch.look()
    finish(watch)
    (watch.target / "a.png").unlink()
    (entry,) = watch.queue
    for what in ("result", "after"):
        response = server.call("GET", f"/api/jobs/{entry.id}/{what}")
        assert response.status == 404 and response.error == "a.png: the file was removed"


def test_a_folder_that_is_gone_is_waited_for(watch: FolderWatch, said: list[str]) -> None:
    watch.source.rmdir()
    watch.look()
    watch.look()
    assert len(said) == 1 and "waiting for it" in said[0]
    watch.source.mkdir()
    image(watch.source / "a.png")
    watch.look()
    watch.look()
    assert finish(watch) == ["a.png"]


def test_more_images_than_the_queue_takes_wait_in_the_folder(
    watch: FolderWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(25):
        image(watch.source / f"{number:02}.png", number)
    monkeypatch.setattr("srkd.serve.watch._KEPT", 2)
    deadline = time.monotonic() + 200
    while len(finish(watch)) < 25:
        watch.look()
        assert time.monotonic() < deadline
    watch.look()
    assert len(list(watch.queue)) == 2


def test_images_of_one_stem_have_results_of_their_own(watch: FolderWatch) -> None:
    watch.format = "png"
    for seed, name in enumerate(("a.png", "a.bmp", "a.tif", "b.tif")):
        image(watch.source / name, seed)
    for _ in range(2):
        watch.look()
    assert finish(watch) == ["a.bmp.png", "a.png", "a.tif.png", "b.png"]
    assert len({(watch.target / name).read_bytes() for name in os.listdir(watch.target)}) == 4
    again = FolderWatch(watch.queue, watch.source, watch.target, "auto", "png", watch.say)
    for _ in range(2):
        again.look()
    assert len(list(watch.queue)) == 4, "the results are there"


def test_strange_names_stop_nothing(watch: FolderWatch, server: Live, said: list[str]) -> None:
    watch.format = "webp"
    watch.target.mkdir()
    image(watch.source / "good.png")
    (watch.source / os.fsdecode(b"b\xe4d.png")).write_bytes((watch.source / "good.png").read_bytes())
    (watch.source / ("a" * 251 + ".png")).write_bytes((watch.source / "good.png").read_bytes())
    for _ in range(2):
        watch.look()
    assert "good.webp" in finish(watch) and len(os.listdir(watch.target)) == 2
    assert any("File name too long" in line for line in said)
    names = [entry["name"] for entry in server.call("GET", "/api/jobs").json["jobs"]]
    assert "b\\xe4d.png" in names

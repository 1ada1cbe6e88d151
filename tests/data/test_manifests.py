from __future__ import annotations

import functools
import hashlib
import http.server
import os
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from srkd import resources
from srkd.data import manifests, preparation, roles
from srkd.data.store import build_store
from srkd.errors import SrkdError
from srkd.files.download import check_address
from srkd.images.read import ImageData, write_image

RNG = np.random.default_rng(0)
DATA = Path(os.environ.get("SRKD_DATA", Path(__file__).parents[3] / "shared" / "data"))


def image(path: Path, height: int = 12, width: int = 10) -> Path:
    write_image(path, ImageData(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)))
    return path


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder served over HTTP, and its URL."""
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{web.server_address[1]}"
    web.shutdown()
    thread.join()
    web.server_close()


@pytest.fixture
def tiny(tmp_path: Path, server: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data set "Tiny" with two parts in one downloadable archive; returns the folder of manifests."""
    web, address = server
    for name in ("a", "b", "c", "x1"):
        image(tmp_path / "src" / ("test" if name == "x1" else "train") / f"{name}.png")
    with tarfile.open(web / "Tiny.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "src", "src")
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "Tiny.yml").write_text(f"""
name: Tiny
description: four images
homepage: {address}
licence: none
citation: none
sources:
  - {{url: "{address}/Tiny.tar.gz", sha256: null}}
parts:
  train: {{role: train, count: 2, images: "Tiny/src/train/*.png", mirror: "train/*.png", without: ["b"]}}
  validation: {{role: validation, count: 1, images: "Tiny/src/train/*.png", mirror: "train/*.png", only: ["b"]}}
  test: {{role: test, count: 1, images: "Tiny/src/test/*.png", mirror: "test/*.png"}}
  val: {{role: refused, count: 1, images: "Tiny/src/val/*.png"}}
""")
    monkeypatch.setattr(resources, "folder", lambda name: folder)
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SRKD_DATA", raising=False)
    manifests.manifest.cache_clear()
    roles._roles.cache_clear()
    return folder


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    manifests.manifest.cache_clear()
    roles._roles.cache_clear()


def test_a_set_is_fetched_unpacked_and_decoded_once(tiny: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    prepared = list(preparation.prepare(["Tiny"], 2, say=lambda what, done, whole: steps.append(what)))
    assert [(p.name, p.role, len(p.store)) for p in prepared] == [
        ("Tiny/train", "train", 2),
        ("Tiny/validation", "validation", 1),
        ("Tiny/test", "test", 1),
    ]
    assert [prepared[0].store.name(i) for i in range(2)] == ["a", "c"]
    assert "Tiny.tar.gz, MB" in steps and "Tiny/test" in steps
    (tmp_path / "web" / "Tiny.tar.gz").unlink()
    (again,) = preparation.prepare(["Tiny/train"], 2)
    assert again.store.fingerprint == prepared[0].store.fingerprint
    assert not list((tmp_path / "cache" / "datasets" / "archives").iterdir())


def test_the_first_checksum_is_required_afterwards(tiny: Path, tmp_path: Path) -> None:
    import json
    import shutil

    manifests.locate("Tiny", "train")
    notes = json.loads((tmp_path / "cache" / "datasets" / "downloads.json").read_text())
    archive = tmp_path / "web" / "Tiny.tar.gz"
    (entry,) = notes.values()
    assert entry["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
    shutil.rmtree(tmp_path / "cache" / "datasets" / "unpacked")
    image(tmp_path / "src" / "train" / "a.png")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "src", "src")
    with pytest.raises(SrkdError, match=r"Tiny\.tar\.gz: its sha256 is .*, but it should be " + entry["sha256"]):
        manifests.locate("Tiny", "train")


def test_a_login_page_is_neither_recorded_nor_kept(tiny: Path, tmp_path: Path) -> None:
    archive = tmp_path / "web" / "Tiny.tar.gz"
    true = archive.read_bytes()
    archive.write_bytes(b"<!doctype html><title>Welcome to the hotel</title>")
    message = r"Tiny\.tar\.gz: a damaged or unsupported archive.*it is a web page: .*; it was removed"
    with pytest.raises(SrkdError, match=message):
        manifests.locate("Tiny", "train")
    assert [p.name for p in (tmp_path / "cache" / "datasets").rglob("*") if p.is_file()] == [".lock"]
    archive.write_bytes(true)
    assert len(manifests.locate("Tiny", "train")) == 2


def test_an_archive_of_other_images_is_neither_recorded_nor_kept(tiny: Path, tmp_path: Path) -> None:
    archive = tmp_path / "web" / "Tiny.tar.gz"
    true = archive.read_bytes()
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "src" / "train" / "a.png", "src/train/a.png")
    with pytest.raises(SrkdError, match=r"Tiny/train: 1 images in the archive, expected 2; it was removed"):
        manifests.locate("Tiny", "train")
    assert [p.name for p in (tmp_path / "cache" / "datasets").rglob("*") if p.is_file()] == [".lock"]
    archive.write_bytes(true)
    assert len(manifests.locate("Tiny", "train")) == 2


def test_an_archive_placed_by_the_user_is_kept(tiny: Path, tmp_path: Path) -> None:
    own = tmp_path / "cache" / "datasets" / "archives" / "Tiny.tar.gz"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"no archive")
    with pytest.raises(SrkdError, match=r"damaged or unsupported archive.*; remove it and try again"):
        manifests.locate("Tiny", "train")
    assert own.read_bytes() == b"no archive"
    (tmp_path / "web" / "Tiny.tar.gz").rename(own)
    assert len(manifests.locate("Tiny", "train")) == 2 and own.is_file()


def test_a_failed_download_says_where_the_file_may_be_put(tiny: Path, tmp_path: Path) -> None:
    kept = (tmp_path / "web" / "Tiny.tar.gz").rename(tmp_path / "Tiny.tar.gz")
    with pytest.raises(SrkdError, match=r"404 .*, or set SRKD_DATA") as failed:
        manifests.locate("Tiny", "train")
    folder = Path(str(failed.value).partition("put the file into ")[2].partition(", or ")[0])
    kept.rename(folder / kept.name)
    assert len(manifests.locate("Tiny", "train")) == 2


def test_damaged_records_are_reported(tiny: Path, tmp_path: Path) -> None:
    notes = tmp_path / "cache" / "datasets" / "downloads.json"
    notes.parent.mkdir(parents=True)
    for damaged in ("{", "[]"):
        notes.write_text(damaged)
        with pytest.raises(SrkdError, match=r"downloads\.json: damaged .*; remove it"):
            manifests.locate("Tiny", "train")


def test_every_source_is_https_or_has_a_checksum() -> None:
    for name in manifests.names():
        for source in manifests.manifest(name).sources:
            check_address(source.url, source.sha256)


def test_local_images_are_found_without_downloading(tiny: Path, tmp_path: Path) -> None:
    assert manifests.at_hand("Tiny", "train") == [] and not list((tmp_path / "cache").rglob("*"))
    assert [p.stem for p in manifests.at_hand("Tiny", "train", tmp_path / "src")] == ["a", "c"]
    assert manifests.at_hand("Tiny", "val", tmp_path / "src") == []
    hidden = manifests.at_hand("Tiny", "train", tmp_path / "src")[0].with_name("._a.png")
    hidden.write_bytes(b"what macOS writes beside a.png on disks of other systems")
    assert [p.stem for p in manifests.at_hand("Tiny", "train", tmp_path / "src")] == ["a", "c"]
    located = manifests.locate("Tiny", "train")
    assert manifests.at_hand("Tiny", "train") == located


def test_sets_are_verified_by_their_checksums(tiny: Path, tmp_path: Path) -> None:
    test, train = (part.store for part in preparation.prepare(["Tiny/test", "Tiny/train"], None))
    assert manifests.verified("Tiny/test", test) is False  # no checksums are known
    (tiny / "Tiny.sha256").write_text(f"{test.source(0).sha256}  test/another name.png\n")
    assert manifests.verified("Tiny/test", test) is True
    assert manifests.verified("Tiny/test", train) is False
    assert manifests.verified("photos", test) is None
    noise = build_store([image(tmp_path / "x1.png")], tmp_path / "noise", 2)
    assert manifests.verified("Tiny/test", noise) is False


def test_a_mirror_is_used_and_checked(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = tmp_path / "src"
    (tmp_path / "web" / "Tiny.tar.gz").unlink()
    sums = "".join(
        f"{hashlib.sha256((mirror / 'train' / f'{n}.png').read_bytes()).hexdigest()}  train/{n}.png\n" for n in "ac"
    )
    (tiny / "Tiny.sha256").write_text(sums)
    assert [p.stem for p in manifests.locate("Tiny", "train", mirror)] == ["a", "c"]
    monkeypatch.setenv("SRKD_DATA", str(mirror))
    assert [p.stem for p in manifests.locate("Tiny", "train")] == ["a", "c"]
    image(mirror / "train" / "c.png")
    with pytest.raises(SrkdError, match=r"c\.png: not Tiny's image of that name: its sha256"):
        manifests.locate("Tiny", "train", mirror)
    (mirror / "train" / "c.png").unlink()
    with pytest.raises(SrkdError, match=r"Tiny/train: c\.png is missing"):
        manifests.locate("Tiny", "train", mirror)
    with pytest.raises(SrkdError, match=r"no images in .*nowhere/test"):
        manifests.locate("Tiny", "test", tmp_path / "nowhere")


def test_too_few_images(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "src" / "train" / "c.png").unlink()
    with pytest.raises(SrkdError, match="Tiny/train: 1 images found, expected 2"):
        manifests.locate("Tiny", "train", tmp_path / "src")


def test_test_and_validation_images_are_rejected_for_training(tiny: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / "src" / folder / f"{name}.png" for name, folder in (("b", "train"), ("x1", "test"))}
    lines = [
        f"{hashlib.sha256(files[n].read_bytes()).hexdigest()}  {part}/{n}.png"
        for n, part in (("b", "validation"), ("x1", "test"))
    ]
    (tiny / "Tiny.sha256").write_text("\n".join(lines))
    renamed = tmp_path / "mine" / "holiday.png"
    renamed.parent.mkdir()
    renamed.write_bytes(files["x1"].read_bytes())
    clean = build_store([image(tmp_path / "mine" / "clean.png")], tmp_path / "s1", 2)
    roles.refuse_unless_training(clean)
    cases = {
        renamed: "holiday.png is an image of Tiny/test and must not be trained on: it is a test image",
        files["b"]: "b.png is an image of Tiny/validation",
    }
    for path, message in cases.items():
        with pytest.raises(SrkdError, match=message):
            roles.refuse_unless_training(build_store([path], tmp_path / "s2", 2))


def test_the_source_of_b100_is_rejected_for_training(tmp_path: Path) -> None:
    val = build_store([image(tmp_path / "101085.png", 321, 481)], tmp_path / "s1", 2)
    with pytest.raises(SrkdError, match=r"101085\.png is an image of BSDS500/val .*the source of the test set B100"):
        roles.refuse_unless_training(val)
    other = [image(tmp_path / "100075.png", 321, 481), image(tmp_path / "3096.png", 64, 64)]
    roles.refuse_unless_training(build_store(other, tmp_path / "s2", 2))


def test_images_are_named_by_data_set_or_folder(tiny: Path, tmp_path: Path) -> None:
    whole = manifests.images_of("Tiny")
    part = manifests.images_of("Tiny/train")
    assert part and set(part) < set(whole)
    below = tmp_path / "mine" / "below"
    below.mkdir(parents=True)
    path = image(below / "a.png", 8, 8)
    assert manifests.images_of(str(below.parent), recursive=True) == [path]
    with pytest.raises(SrkdError, match=r"Tinny: no such folder, and no data set of that name"):
        manifests.images_of("Tinny")


def test_mistakes_are_reported(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=r'Tinny: no such folder, and no data set of that name \(did you mean "Tiny"'):
        preparation.prepare(["Tinny"], 2)
    with pytest.raises(SrkdError, match='unknown part of Tiny "trian"'):
        preparation.prepare(["Tiny/trian"], 2)
    with pytest.raises(SrkdError, match="paired with a folder"):
        preparation.prepare(["Tiny"], 2, lr=str(tmp_path))
    (tiny / "Bad.yml").write_text("name: Bad\nparts: {train: {rolle: train}}")
    with pytest.raises(SrkdError, match=r"Bad\.yml: .*rolle"):
        preparation.prepare(["Bad"], 2)


def test_a_manual_download_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path))
    monkeypatch.delenv("SRKD_DATA", raising=False)
    with pytest.raises(SrkdError, match=r"Manga109 must be downloaded manually, into .*Manga109: ask for access"):
        manifests.locate("Manga109", "test")


def test_images_of_an_installed_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SRKD_DATA", raising=False)
    assert "astronaut.png" in [p.name for p in manifests.locate("scikit_image", "train")]


def test_every_manifest_is_consistent() -> None:
    assert {
        "DIV2K",
        "Flickr2K",
        "Set5",
        "Set14",
        "B100",
        "Urban100",
        "Manga109",
        "BSDS500",
        "T91",
        "General100",
        "scikit_image",
        "CC0_photos",
        "CID22",
        "GB82",
    } <= set(manifests.names())
    for name in manifests.names():
        known = manifests.manifest(name)
        assert known.name == name
        assert bool(known.sources) + (known.package is not None) + (known.manual is not None) == 1
        for key in manifests.checksums(name):
            assert key.partition("/")[0] in known.parts
        assert name in manifests.describe(name)


def test_the_split_of_bsds500_does_not_mix() -> None:
    parts = manifests.manifest("BSDS500").parts
    assert len(parts["validation"].only) == 20
    assert parts["leaked"].only == ["302003"]
    assert set(parts["train"].without) == {*parts["validation"].only, *parts["leaked"].only}
    stems = {key: set() for key in parts}
    for key in manifests.checksums("BSDS500"):
        part, _, name = key.partition("/")
        stems[part].add(name.removesuffix(".jpg"))
    stems["val"] = set(parts["val"].only)
    counts = [len(stems[key]) for key in ("train", "leaked", "validation", "test", "val")]
    assert counts == [179, 1, 20, 200, 100]
    assert len(set.union(*stems.values())) == 500
    ordered = sorted(stems["train"] | stems["leaked"] | stems["validation"], key=int)
    assert ordered[4::10] == parts["validation"].only


def test_the_real_mirror() -> None:
    if not (DATA / "sr" / "eval" / "Set5").is_dir():
        pytest.skip(f"needs the images of Set5 in {DATA}; set SRKD_DATA")
    assert len(manifests.locate("Set5", "test", DATA)) == 5
    assert len(manifests.locate("BSDS500", "validation", DATA)) == 20

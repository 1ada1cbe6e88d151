"""The export for browsers: what is written, and in a real Chromium the same pixels as here."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import CHROMIUM, Browser
from PIL import Image

from srkd.cli.main import main
from srkd.errors import SrkdError
from srkd.images.read import ImageData, write_image
from srkd.inference.browser import folder as writing
from srkd.inference.browser import runtime
from srkd.inference.export import ExportOptions
from srkd.inference.model import Model
from srkd.inference.tiling import ReceptiveField
from srkd.networks import build
from srkd.training.checkpoint import save_weights
from support import textured

SIZE = (45, 70)  # height and width: odd, and several tiles of 32


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A network whose input sides must be even, so that tiles are aligned and padded."""
    torch.manual_seed(0)
    spec = {"type": "UnshuffleSR", "num_feat": 8, "num_block": 1, "upscale": 2}
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    save_weights(path, build(spec).state_dict(), {"network": spec, "scale": 2, "licence": "CC0 1.0"})
    return Model.load(path)


@pytest.fixture(scope="module")
def folder(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export, with tiles of 32 pixels."""
    out, photos = tmp_path_factory.mktemp("out"), tmp_path_factory.mktemp("photos")
    write_image(photos / "a.png", ImageData(textured(0, 48, 60)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_LARGEST", 32)
        patch.setenv("SRKD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        if shutil.which("npm") is None:
            pytest.skip("npm, which fetches onnxruntime-web, is not installed")
        try:
            runtime.fetch()
        except SrkdError as error:
            pytest.skip(f"onnxruntime-web cannot be fetched: {error}")
        path = tmp_path_factory.getbasetemp() / "tiny.safetensors"
        save_weights(
            path, model.network.state_dict(), {key: model.meta[key] for key in ("network", "licence")} | {"scale": 2}
        )
        options = ["--to", "browser", "--data", str(photos)]
        assert main(["export", str(path), "-o", str(out), *options]) == 0
    return out / "browser"


def test_the_folder_has_all_that_the_page_needs(folder: Path, model: Model) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {"index.html", "app.js", "worker.js", "model.onnx", "model.json", *runtime.FILES} <= names
    facts = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    field = model.receptive_field
    expected = {"scale": 2, "halo": field.halo, "align": field.align, "multiple": 2, "licence": "CC0 1.0"}
    assert {key: facts[key] for key in expected} == expected
    assert facts["align"] == 2 and facts["runtime"] == runtime.PACKAGE
    (row,) = json.loads((folder.parent / "export.json").read_text(encoding="utf-8"))["rows"][1:]
    assert row["file"] == "browser/model.onnx" and row["kept"] == "yes"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if not CHROMIUM:
        pytest.skip("no Chromium to open the page in: apt-get install chromium")
    opened = Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder as `python -m http.server` does."""

    more: dict[str, str] = {}

    def end_headers(self) -> None:
        for name, value in self.more.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


class Isolating(Handler):
    more = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


@pytest.fixture(params=[Handler, Isolating], ids=["as python -m http.server", "with COOP and COEP"])
def address(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    handler = functools.partial(request.param, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


STATUS = "document.getElementById('status').textContent"
RESULT = """(async () => {
    const image = document.querySelector('.compare .after');
    await image.decode();
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);
    canvas.getContext('2d').drawImage(image, 0, 0);
    const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));
})()"""


def upscaled(browser: Browser, path: Path) -> np.ndarray:
    """The page's result for an image file."""
    browser.choose("#files", path)
    browser.wait_for(f"{STATUS}.startsWith('Done')", 200)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(browser.run(RESULT)))))


def test_the_page_computes_the_same_pixels(browser: Browser, address: str, model: Model, tmp_path: Path) -> None:
    image = textured(1, *SIZE)
    write_image(tmp_path / "photo.png", ImageData(image))
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(address)
    browser.wait_for(f"{STATUS}.startsWith('Ready')", 200)
    isolated = browser.run("crossOriginIsolated")
    threads = min(browser.run("navigator.hardwareConcurrency"), 8) if isolated else 1
    assert f"WebAssembly, {threads} thread" in browser.run(STATUS)
    found = upscaled(browser, tmp_path / "photo.png")
    expected = model.upscale(image)
    assert np.abs(found[..., :3].astype(int) - expected).max() <= 1 and (found[..., 3:] == 255).all()
    assert "for a megapixel of input" in browser.run("document.getElementById('facts').textContent")
    assert browser.run("document.querySelector('.more a').download") == "photo_x2.png"
    (tmp_path / "notes.png").write_bytes(b"no image")
    browser.choose("#files", tmp_path / "notes.png")
    browser.wait_for("!document.getElementById('alert').hidden")
    assert browser.run("document.getElementById('alert').textContent").startswith("notes.png: not an image")
    assert all(url.startswith((address, "blob:")) for url in browser.requests)
    # Chromium notes that this machine has no GPU.
    assert [line for line in browser.complaints if "No available adapters" not in line] == []


def test_transparency_is_kept(browser: Browser, folder: Path, tmp_path: Path) -> None:
    image = np.dstack([textured(2, 24, 24), np.full((24, 24), 255, np.uint8)])
    image[:, 12:, 3] = 0
    write_image(tmp_path / "half.png", ImageData(image))
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{server.server_port}/", 390, 844)
        assert browser.run("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
        browser.wait_for(f"{STATUS}.startsWith('Ready')", 200)
        found = upscaled(browser, tmp_path / "half.png")
        server.shutdown()
    assert (found[:, :20, 3] == 255).all() and (found[:, 28:, 3] == 0).all()


def test_without_npm_it_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path))
    monkeypatch.setattr(runtime.shutil, "which", lambda name: None)
    with pytest.raises(
        SrkdError, match=r"^an export for the browser fetches onnxruntime-web by npm, which is not inst"
    ):
        runtime.fetch()


@pytest.mark.parametrize(
    ("code", "archive", "error"),
    [
        (1, None, "npm cannot fetch onnxruntime-web@1.30.0: ERR! no network; try: npm view onnxruntime-web@1.30.0"),
        (0, b"another package", "npm fetched another onnxruntime-web@1.30.0 than the pinned one: sha512-"),
    ],
)
def test_what_npm_fetches_is_verified(
    code: int, archive: bytes | None, error: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def npm(command: list[str], **_: Any) -> Any:
        assert command[1:3] == ["pack", runtime.PACKAGE] and "--ignore-scripts" in command
        assert not any("registry" in word for word in command), "the user's configuration decides"
        if archive is not None:
            (Path(command[command.index("--pack-destination") + 1]) / "a.tgz").write_bytes(archive)
        return subprocess.CompletedProcess(command, code, "", "\nERR! no network\nmore\n")

    monkeypatch.setenv("SRKD_CACHE", str(tmp_path))
    monkeypatch.setattr(runtime.shutil, "which", lambda name: "/usr/bin/npm")
    monkeypatch.setattr(runtime.subprocess, "run", npm)
    with pytest.raises(SrkdError) as raised:
        runtime.fetch()
    assert str(raised.value).startswith(error) and "\n" not in str(raised.value)


def test_only_the_needed_files_are_extracted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tgz", "w:gz") as archive:
        for name in ("package/dist/a.mjs", "package/dist/other.js", "../evil"):
            info = tarfile.TarInfo(name)
            info.size = 4
            archive.addfile(info, io.BytesIO(b"text"))
    digest = "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"  # sha256 of "text"
    monkeypatch.setattr(runtime, "FILES", {"a.mjs": digest})
    runtime._extract(tmp_path / "a.tgz", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mjs"] and not (tmp_path / "evil").exists()
    monkeypatch.setattr(runtime, "FILES", {"a.mjs": "0" * 64})
    with pytest.raises(SrkdError, match=r"a\.mjs: damaged"):
        runtime._extract(tmp_path / "a.tgz", tmp_path / "out")


def test_a_folder_of_the_users_is_left_alone(model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(runtime, "fetch", lambda: [])
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(SrkdError, match="was not created by srkd"):
        writing.begin(model, tmp_path)
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_precisions_and_networks_that_the_page_cannot_run(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="browser has fp32, not int8"):
        ExportOptions(targets=("browser",), precisions=("int8",))
    unlimited = Model(torch.nn.Identity(), 2, "attention")
    unlimited.__dict__["receptive_field"] = ReceptiveField(None)
    with pytest.raises(SrkdError, match=r"^attention: an export for the browser computes exact tiles"):
        writing.begin(unlimited, tmp_path / "new")
    assert not (tmp_path / "new").exists()

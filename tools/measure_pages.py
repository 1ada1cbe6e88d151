"""Measure `srkd serve` with 50 uploads at a time, and the exported page in Chromium: `docs/measured/pages.json`.

Run it on a machine that does nothing else: python tools/measure_pages.py; or "serve", "largest", "browser" for a part.
The first two need Linux, the last npm and Chromium.
"""

from __future__ import annotations

import argparse
import functools
import http.client
import http.server
import json
import multiprocessing
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from srkd.cli.main import main as srkd
from srkd.errors import SrkdError
from srkd.files.atomic import write_json
from srkd.images.read import ImageData, read_image, write_image
from srkd.inference.files import Options, upscale_observed
from srkd.inference.jobs import Job
from srkd.inference.model import Model
from srkd.inference.speed import machine
from srkd.machine import load_average, peak_mb
from srkd.serve.limits import Limits

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "docs" / "measured" / "pages.json"
MODEL = "edsr_16x8_x2_cc0"
UPLOADS = 50  # images at a time


def peak(process: int, name: str) -> float:
    """A memory peak of a process in MB: VmHWM, or VmRSS for now."""
    status = Path(f"/proc/{process}/status").read_text(encoding="ascii")
    found = re.search(rf"{name}:\s+(\d+)", status)
    assert found is not None
    return int(found[1]) / 1024


@contextmanager
def serving() -> Iterator[tuple[int, int]]:
    """(process, port) of a server with the default model."""
    command = [sys.executable, str(ROOT / "tools" / "serve.py"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as child:
        assert child.stdout is not None
        address = child.stdout.readline()
        try:
            yield child.pid, int(re.findall(r":(\d+)/", address)[0])
        finally:
            child.terminate()


def serve(folder: Path, side: int) -> dict[str, Any]:
    """Send `UPLOADS` different images at a time; every result must be the pixels of `Model.upscale`."""
    from support import textured

    paths = [folder / f"{number}.png" for number in range(UPLOADS)]
    for number, path in enumerate(paths):
        write_image(path, ImageData(textured(number, side, side)))

    def upscaled(path: Path) -> Path:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
        connection.request("POST", f"/api/upscale?name={path.name}", path.read_bytes())
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise SrkdError(f"{path.name}: {response.status} {body[:200]!r}")
        result = path.with_suffix(".result.png")
        result.write_bytes(body)
        return result

    with serving() as (process, port):
        upscaled(paths[0])  # loads the network
        idle, started = peak(process, "VmRSS"), time.perf_counter()
        with ThreadPoolExecutor(UPLOADS) as pool:
            results = list(pool.map(upscaled, paths))
        seconds, most = time.perf_counter() - started, peak(process, "VmHWM")
    model = Model.load(MODEL)
    different = sum(
        int(np.abs(read_image(result).pixels.astype(int) - model.upscale(path)).max() > 1)
        for path, result in zip(paths, results, strict=True)
    )
    known = {"uploads": UPLOADS, "side": side, "lost": UPLOADS - len(results), "different": different}
    memory = {"MB with one image done": round(idle), "peak MB": round(most)}
    return {
        **known,
        **memory,
        "seconds": round(seconds, 1),
        "s per megapixel": round(seconds / UPLOADS / side**2 * 1e6, 2),
    }


def largest(folder: Path, _: int) -> dict[str, Any]:
    """The peak memory of writing a result at the server's limit of megapixels, whatever the network."""
    side = int((Limits().megapixels * 1e6) ** 0.5) // 2
    y, x = np.mgrid[:side, :side]
    write_image(folder / "large.png", ImageData(np.stack([x % 251, y % 241, (x + y) % 239], -1).astype(np.uint8)))
    found: dict[str, Any] = {"megapixels": Limits().megapixels}
    for format in ("jpeg", "tiff"):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            found[f"{format} GB"] = round(pool.submit(_peak_of, folder, format).result() / 1000, 1)
    return found


def _peak_of(folder: Path, format: str) -> float:
    """The peak memory in MB of this process after it doubled the image."""
    job = Job(folder / "large.png", folder / f"result.{format}", format)
    model = Model(nn.Upsample(scale_factor=2), 2)
    upscale_observed(model, job, Options(tile=512), lambda pixels: None, lambda share: None)
    return peak_mb()


def page(folder: Path, side: int) -> list[dict[str, Any]]:
    """Seconds for a megapixel of input in the exported page, with one thread and with several."""
    from browser import Browser

    from support import textured

    write_image(folder / "photo.png", ImageData(textured(0, side, side)))
    (folder / "photos").mkdir()
    write_image(folder / "photos" / "a.png", ImageData(textured(1, 96, 96)))
    if srkd(["export", MODEL, "-o", str(folder / "files"), "--to", "browser", "--data", str(folder / "photos")]):
        raise SrkdError("the export failed")
    rows = []
    for isolated in (False, True):
        with _served(folder / "files" / "browser", isolated) as address:
            browser = Browser(Path(tempfile.mkdtemp(dir=folder)))
            browser.open(address)
            status = "document.getElementById('status').textContent"
            browser.wait_for(f"{status}.startsWith('Ready')", 600)
            backend = str(browser.run(status)).removeprefix("Ready, ")
            times = []
            for _ in range(3):
                browser.run("document.getElementById('status').textContent = ''")
                browser.choose("#files", folder / "photo.png")
                browser.wait_for(f"{status}.startsWith('Done')", 600)
                times.append(float(re.findall(r"([\d.]+) s", str(browser.run(status)))[0]))
            browser.close()
        rows.append({"computed by": backend, "s per megapixel": round(sorted(times)[1] / side**2 * 1e6, 1)})
    return rows


@contextmanager
def _served(folder: Path, isolated: bool) -> Iterator[str]:
    class Handler(http.server.SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            if isolated:
                self.send_header("Cross-Origin-Opener-Policy", "same-origin")
                self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
            super().end_headers()

        def log_message(self, *_: Any) -> None:
            """Nothing is printed."""

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "what", nargs="*", choices=[[], "serve", "largest", "browser"], help="some of the three (default: all)"
    )
    parser.add_argument("--side", type=int, default=1024, help="of the images, in pixels (default: %(default)s)")
    args = parser.parse_args()
    found: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    for name, measure in (("serve", serve), ("largest", largest), ("browser", page)):
        if args.what and name not in args.what:
            continue
        load = load_average()
        with tempfile.TemporaryDirectory() as folder:
            result = measure(Path(folder), args.side)
        busy = load is not None and load > 1
        note = f"{machine()}{f', busy with other programs (load {load:.0f})' if busy else ''}"
        found[name] = {"machine": note, "result": result}
        print(json.dumps(found[name], indent=1))
        write_json(RESULT, found)


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    main()

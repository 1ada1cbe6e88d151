"""The HTTP API of a live server: results, rejected uploads, limits."""

from __future__ import annotations

import io
import socket
import struct
import threading
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import numpy as np
import pytest
from PIL import Image
from serve.conftest import Live, look_up_time
from starlette.exceptions import HTTPException

from srkd.images.read import ImageData, read_image, write_image
from srkd.inference.files import upscale_observed
from srkd.inference.model import Model
from srkd.serve import queue as queue_module
from srkd.serve import uploads
from srkd.serve.access import HEADERS
from srkd.serve.api_page import openapi
from srkd.serve.app import Handlers
from srkd.serve.choices import ModelChoices
from srkd.serve.uploads import label_of
from support import textured


def pixels_of(body: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(body)))


def test_an_image_as_the_body_returns_the_pixels_of_srkd_upscale(server: Live, png: bytes, checkpoint: Path) -> None:
    response = server.call("POST", "/api/upscale?name=photo.png", png)
    assert response.status == 200 and response.headers["content-type"] == "image/png"
    assert 'filename="photo_x2.png"' in response.headers["content-disposition"]
    expected = Model.load(checkpoint).upscale(pixels_of(png))
    assert np.array_equal(pixels_of(response.body), expected)
    assert server.is_emptied(), "nothing is kept"


def test_large_images_are_computed_in_tiles_with_the_same_pixels(
    server: Live, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(queue_module, "_TILE", 16)
    write_image(tmp_path / "a.png", ImageData(textured(1, 40, 50)))
    response = server.call("POST", "/api/upscale", (tmp_path / "a.png").read_bytes())
    assert np.array_equal(pixels_of(response.body), Model.load(checkpoint).upscale(tmp_path / "a.png"))


def test_jobs_from_upload_to_removal(server: Live, png: bytes) -> None:
    added = server.post_form(
        "/api/jobs",
        ("image", "a.png", png),
        ("image", "a.png", png),
        ("format", None, b"jpeg"),
        ("quality", None, b"90"),
    )
    assert added.status == 201
    jobs = [server.ended(job["id"]) for job in added.json["jobs"]]
    assert [job["name"] for job in jobs] == ["a.png", "a.png"]
    job = jobs[0]
    assert (job["state"], job["size"], job["upscaled_size"], job["format"]) == ("done", [24, 16], [48, 32], "jpeg")
    assert job["progress"] == 1 and job["seconds"] > 0 and job["backend"] == "torch fp32" and job["error"] is None
    place = f"/api/jobs/{job['id']}"
    result = server.call("GET", f"{place}/result")
    assert result.headers["content-type"] == "image/jpeg" and Image.open(io.BytesIO(result.body)).format == "JPEG"
    assert server.call("GET", f"{place}/before").body == png
    assert server.call("GET", f"{place}/after").body == result.body
    small = server.call("GET", f"{place}/thumbnail")
    assert Image.open(io.BytesIO(small.body)).size == (24, 16)
    archive = zipfile.ZipFile(io.BytesIO(server.call("GET", "/api/results.zip").body))
    assert archive.namelist() == ["a_x2.jpg", "a_x2 (2).jpg"] and archive.testzip() is None
    assert archive.read("a_x2.jpg") == result.body
    assert server.call("DELETE", place).status == 204
    assert server.call("GET", place).status == 404
    assert server.call("DELETE", "/api/jobs").status == 204
    assert server.call("GET", "/api/jobs").json == {"jobs": []}
    assert server.files == []
    assert server.call("GET", "/api/results.zip").status == 404


def test_sixteen_bits_are_kept_and_shown_with_eight(server: Live, tmp_path: Path) -> None:
    deep = textured(2, 12, 20).astype(np.uint16) * 257
    write_image(tmp_path / "deep.tif", ImageData(deep))
    (job,) = server.call("POST", "/api/jobs?name=deep.tif", (tmp_path / "deep.tif").read_bytes()).json["jobs"]
    assert server.ended(job["id"])["format"] == "tiff"
    (tmp_path / "result.tif").write_bytes(server.call("GET", f"/api/jobs/{job['id']}/result").body)
    assert read_image(tmp_path / "result.tif").pixels.dtype == np.uint16
    before = server.call("GET", f"/api/jobs/{job['id']}/before")
    assert before.headers["content-type"] == "image/png"
    assert np.array_equal(pixels_of(before.body), (deep // 257).astype(np.uint8))


@pytest.mark.parametrize("suffix", [".tga", ".dib"])
def test_formats_without_a_signature_are_recognised_by_the_name(server: Live, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(textured(3, 10, 14)).save(path)
    response = server.call("POST", f"/api/jobs?name=C:\\photos\\A{suffix.upper()}", path.read_bytes())
    assert response.status == 201, response.error
    job = response.json["jobs"][0]
    assert server.ended(job["id"])["state"] == "done"
    before = server.call("GET", f"/api/jobs/{job['id']}/before")
    assert np.array_equal(pixels_of(before.body), textured(3, 10, 14))
    assert server.post_form("/api/jobs", ("image", path.name, path.read_bytes())).status == 201
    assert server.call("POST", "/api/jobs?name=a.png", path.read_bytes()).status == 422


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("../../../etc/passwd", "passwd"),
        ("C:\\windows\\photo.png", "photo.png"),
        ("..", "image"),
        ("", "image"),
        ("a\nb\x1b.png", "a\\nb\\x1b.png"),
        ("x" * 300 + ".png", "x" * 116 + ".png"),
    ],
)
def test_a_path_as_the_name_is_only_a_label(server: Live, png: bytes, name: str, label: str) -> None:
    assert label_of(name) == label
    response = server.post_form("/api/jobs", ("image", name.replace("\n", "").replace("\x1b", ""), png))
    assert response.status == 201
    (job,) = response.json["jobs"]
    assert "/" not in job["name"] and "\\w" not in job["name"]
    assert server.ended(job["id"])["state"] == "done"
    assert all(path.startswith(tuple("0123456789abcdef")) and len(path) < 40 for path in server.files)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that declares this size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("query", "body", "status", "error"),
    [
        ("?name=notes.txt", b"no image", 422, "notes.txt: not an image"),
        ("", b"", 400, "no image in the request"),
        ("?name=b.png", bomb(60_000, 60_000), 422, "b.png: declares 60000x60000 pixels"),
        ("?name=b.png", bomb(1000, 600), 413, "b.png: 1000x600 at x2 has 2 megapixels, more than the limit of 1"),
        ("", bytes(400_000), 413, "larger than the limit of 0.3 MB"),
        ("?model=nothing", None, 400, 'unknown model "nothing"'),
        ("?format=tga", None, 400, "tga can be read but not written"),
        ("?format=../x", None, 400, "unknown image format"),
        ("?quality=high", None, 400, "quality: an integer from 1 to 100"),
        ("?quality=101", None, 400, "quality: an integer from 1 to 100"),
        ("?scale=4", None, 400, 'unknown field "scale"; known: format, model, name, quality, token'),
        ("?fromat=png", None, 400, 'unknown field "fromat" (did you mean "format"?)'),
    ],
)
@pytest.mark.parametrize("path", ["/api/jobs", "/api/upscale"])
def test_rejected_uploads_state_why_and_leave_no_file(
    server: Live, png: bytes, path: str, query: str, body: bytes | None, status: int, error: str
) -> None:
    response = server.call("POST", f"{path}{query}", png if body is None else body)
    assert response.status == status and response.error.startswith(error)
    assert server.files == [] and server.call("GET", "/api/jobs").json == {"jobs": []}


def test_rejected_forms(server: Live, png: bytes) -> None:
    whole = ("image", "a.png", png)
    cases: list[tuple[Any, int, str]] = [
        (server.post_form("/api/jobs", whole, ("image", "b.png", b"no")), 422, "b.png: not an image"),
        (server.post_form("/api/jobs", whole, cut=-9), 400, "a form that is cut off"),
        (server.post_form("/api/jobs", ("model", None, b"auto")), 400, "no image in the request"),
        (server.post_form("/api/jobs", ("model", None, bytes(2000)), whole), 400, "a form field of more than 1000"),
        (server.post_form("/api/jobs", *[(f"f{n}", None, b"") for n in range(30)]), 400, "a form of more than 20"),
        (server.post_form("/api/jobs", ("image", "a.png", bytes(400_000))), 413, "larger than the limit"),
        (server.post_form("/api/jobs", *[whole] * 21), 429, "the queue is full (20 images)"),
        (server.post_form("/api/upscale", whole, whole), 400, "2 images in one request"),
        (server.call("POST", "/api/jobs", b"x", content_type="multipart/form-data"), 400, "a form without a boundary"),
        (
            server.call("POST", "/api/jobs", b"x", content_type=f"multipart/form-data; boundary={'x' * 300}"),
            400,
            "a form whose boundary is too long",
        ),
    ]
    for response, status, error in cases:
        assert response.status == status and response.error.startswith(error), response
    assert server.call("GET", "/api/jobs").json == {"jobs": []}


@pytest.mark.parametrize("start", [b"", b"X: "])
def test_a_header_of_a_form_is_limited_whatever_its_parser_takes(server: Live, start: bytes) -> None:
    form = uploads._Form(server.ready.queue, b"xyz")
    form._parser.max_header_size = 1 << 40  # as before python-multipart had a limit
    with pytest.raises(HTTPException, match="a header of more than 4096 bytes"):
        form.write(b"--xyz\r\n" + start + b"y" * 5000)


def test_a_form_that_finds_the_queue_closed_leaves_no_file(
    server: Live, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = server.ready.queue
    images = []
    for number in range(3):
        path = queue.folder / f"{number}.png"
        path.write_bytes(png)
        images.append(queue.upload_of(path, "a.png", (10, 14), "png", "auto", None))
        queue.reserve()
    monkeypatch.setattr(queue, "_open", False)
    with pytest.raises(HTTPException, match="the queue is full"):
        Handlers(queue, "")._added(images)
    monkeypatch.undo()
    assert server.is_emptied() and queue.room == 20


def test_uploads_under_way_count_as_images(server: Live, png: bytes) -> None:
    """Twenty uploads that never end take all places; a place is free again once one of them is cut off."""
    start = b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n" + png
    with ExitStack() as stack:
        clients = [socket.create_connection(("127.0.0.1", server.ready.access.port)) for _ in range(20)]
        for client in clients:
            stack.enter_context(client).sendall(start)
        wait_until(lambda: len(server.files) == 20)
        for path in ("/api/jobs", "/api/upscale"):
            response = server.call("POST", path, png)
            assert response.status == 429 and response.error.startswith("the queue is full (20 images)")
        assert len(server.files) == 20 and server.ready.queue.room == 0
        clients[0].close()
        wait_until(lambda: server.ready.queue.room == 1)
        assert server.call("POST", "/api/upscale", png).status == 200
    assert server.is_emptied() and server.ready.queue.room == 20


def wait_until(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("size", [0, 200_000], ids=["when it is closed", "when it is written"])
def test_a_full_disk_rejects_an_upload_and_leaves_no_file(
    server: Live, png: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = uploads._Files.begin

    def begin_on_full_disk(self: uploads._Files, name: str) -> None:
        begin(self, name)
        assert self._open is not None
        self._open.close()
        self._open = io.BufferedWriter(io.FileIO("/dev/full", "wb"))

    monkeypatch.setattr(uploads._Files, "begin", begin_on_full_disk)
    for response in (
        server.call("POST", "/api/upscale", png + bytes(size)),
        server.post_form("/api/jobs", ("image", "a.png", png), ("image", "b.png", png + bytes(size))),
    ):
        assert response.status == 507
        assert response.error == "the server cannot store the upload: No space left on device"
    assert server.files == []


def test_unknown_jobs_and_pages(server: Live) -> None:
    for method, path in [
        ("GET", "/api/jobs/x"),
        ("DELETE", "/api/jobs/x"),
        ("POST", "/api/jobs/x/cancel"),
        ("GET", "/api/jobs/x/result"),
        ("GET", "/api/jobs/..%2f..%2fx/result"),
        ("GET", "/page.html/../../app.py"),
        ("GET", "/nothing"),
    ]:
        assert server.call(method, path).status == 404, path
    assert server.call("PUT", "/api/jobs").status == 405


def test_a_request_that_meets_a_bug_gets_one_line(server: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("a path of the server")

    monkeypatch.setattr(ModelChoices, "as_json", fail)
    response = server.call("GET", "/api/info")
    assert response.status == 500 and response.error == "the server failed (RuntimeError); it goes on"
    assert set(HEADERS) <= response.headers.keys()


def test_a_network_that_fails_does_not_stop_the_next_image(
    server: Live, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("out of\nmemory")

    with monkeypatch.context() as patch:
        patch.setattr(queue_module, "upscale_observed", fail)
        response = server.call("POST", "/api/upscale", png)
        assert response.status == 422 and response.error == "RuntimeError: out of memory"
    assert server.call("POST", "/api/upscale", png).status == 200


class Held:
    """Stands for `upscale_observed`: waits before it starts."""

    def __init__(self) -> None:
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, model: Any, job: Any, options: Any, decoded: Any, progress: Any) -> Any:
        self.started.set()
        assert self.go.wait(60)
        return upscale_observed(model, job, options, decoded, progress)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    held = Held()
    monkeypatch.setattr(queue_module, "upscale_observed", held)
    yield held
    held.go.set()


def test_cancelling_a_running_and_a_waiting_image(server: Live, png: bytes, held: Held) -> None:
    jobs = [server.call("POST", f"/api/jobs?name={name}.png", png).json["jobs"][0] for name in "abc"]
    assert held.started.wait(60)
    a, b, c = (job["id"] for job in jobs)
    assert server.call("GET", f"/api/jobs/{a}/result").status == 409
    assert server.call("POST", f"/api/jobs/{a}/cancel").json["state"] == "running", "until its tile is computed"
    assert server.call("POST", f"/api/jobs/{b}/cancel").json["state"] == "cancelled"
    held.go.set()
    assert [server.ended(id)["state"] for id in (a, b, c)] == ["cancelled", "cancelled", "done"]
    assert not (server.ready.queue[a].target).exists()
    assert server.call("POST", f"/api/jobs/{c}/cancel").json["state"] == "done"


def test_removing_a_running_image_removes_its_files(server: Live, png: bytes, held: Held) -> None:
    (job,) = server.call("POST", "/api/jobs", png).json["jobs"]
    assert held.started.wait(60)
    assert server.call("DELETE", f"/api/jobs/{job['id']}").status == 204
    assert server.call("GET", "/api/jobs").json == {"jobs": []}
    held.go.set()  # the fixture checks the files


def test_who_waits_when_the_server_stops_is_told(server: Live, png: bytes, held: Held) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.call, "POST", "/api/upscale", png)
        assert held.started.wait(60)
        server.ready.queue.cancel_all()
        response = waiting.result(60)
    assert response.status == 503 and response.error == "cancelled"


def test_results_are_named_like_their_images(server: Live, png: bytes) -> None:
    jpeg = bytes(cv2.imencode(".jpg", textured(0, 8, 8))[1])
    for name, body, result in [
        ("a.JPG", jpeg, "a_x2.JPG"),
        ("a.png", jpeg, "a_x2.jpg"),
        ("a", png, "a_x2.png"),
        ("a.b", png, "a_x2.png"),
        ("\u5199\u771f.png", png, "\u5199\u771f_x2.png"),
    ]:
        (job,) = server.call("POST", f"/api/jobs?name={quote(name)}", body).json["jobs"]
        assert job["result_name"] == result
        server.ended(job["id"])


def test_a_client_that_leaves_cancels_its_image(server: Live, png: bytes, held: Held) -> None:
    request = f"POST /api/upscale HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(png)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.ready.access.port)) as client:
        client.sendall(request + png)
        assert held.started.wait(60)
    deadline = time.monotonic() + 60
    while server.call("GET", "/api/jobs").json["jobs"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.call("GET", "/api/jobs").json == {"jobs": []}


def test_an_upload_that_is_cut_off_leaves_no_file(server: Live, png: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.ready.access.port)) as client:
        client.sendall(b"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999\r\n\r\n" + png)
        deadline = time.monotonic() + 60
        while not server.files and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.files
    assert server.is_emptied()


def test_concurrent_uploads_lose_nothing(server: Live, checkpoint: Path) -> None:
    images = [textured(seed, 16, 20) for seed in range(12)]
    encoded = [bytes(cv2.imencode(".png", image[..., ::-1])[1]) for image in images]
    with ThreadPoolExecutor(12) as pool:
        responses = list(pool.map(lambda body: server.call("POST", "/api/upscale", body), encoded))
    model = Model.load(checkpoint)
    for image, response in zip(images, responses, strict=True):
        assert response.status == 200 and np.array_equal(pixels_of(response.body), model.upscale(image))


def test_the_models_have_their_measured_times(server: Live, checkpoint: Path, tmp_path: Path) -> None:
    models = server.call("GET", "/api/info").json["models"]
    assert models[0]["name"] == str(checkpoint) and models[1]["name"] == "edsr_16x8_x2_cc0" and models[1]["default"]
    assert not any(model["name"].endswith("_control") for model in models)
    assert models[1]["ms_per_megapixel"] is None and models[1]["measured"] == "not measured"
    choice = server.ready.queue.choices["auto"]
    choice.earlier = 123.4, "openvino bf16"
    assert choice.as_json()["ms_per_megapixel"] == 123.4
    assert choice.as_json()["measured"] == "network alone, openvino bf16"
    server.ready.queue.choices.observe(choice.name, 200_000, 0.1)
    server.ready.queue.choices.observe(choice.name, 600_000, 0.1)
    server.ready.queue.choices.observe(choice.name, 10, 0.1)  # too small to say anything
    assert choice.as_json()["ms_per_megapixel"] == 250
    assert choice.as_json()["measured"] == "file to file, last 2 images"
    choice.earlier = None
    choice.times.clear()


def test_a_model_whose_time_cannot_be_looked_up_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise KeyError("a damaged cache")

    choices = ModelChoices([], lambda line: None)
    monkeypatch.setattr(Model, "load", fail)
    assert [look_up_time(choices) for _ in choices.listed] == [True] * len(choices.listed)
    assert not look_up_time(choices)


def test_the_description_lists_exactly_the_routes(server: Live) -> None:
    routes = {
        (route.path, method.lower())
        for route in server.ready.app.routes
        if route.path.startswith("/api/")  # type: ignore[attr-defined]
        for method in route.methods  # type: ignore[attr-defined]
        if method != "HEAD"
    }
    described = {(path, method) for path, methods in openapi()["paths"].items() for method in methods}
    assert described == routes
    assert server.call("GET", "/openapi.json").json == openapi()
    page = server.call("GET", "/api").body.decode()
    for path, methods in openapi()["paths"].items():
        assert path in page and all(operation["summary"] in page for operation in methods.values())


def test_descriptions_have_the_fields_that_are_documented(server: Live, png: bytes) -> None:
    schemas = openapi()["components"]["schemas"]
    (job,) = server.call("POST", "/api/jobs", png).json["jobs"]
    info = server.call("GET", "/api/info").json
    assert set(server.ended(job["id"])) == set(schemas["Job"]["properties"])
    assert set(info) == set(schemas["Info"]["properties"])
    assert set(info["models"][0]) == set(schemas["Info"]["properties"]["models"]["items"]["properties"])

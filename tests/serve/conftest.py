"""A live server on loopback with a tiny network, for the tests of this folder."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from srkd.images.read import ImageData, write_image
from srkd.serve.choices import ModelChoices
from srkd.serve.limits import Limits
from srkd.serve.server import Ready, ServerSettings, prepared, runner
from support import textured, tiny_checkpoint

look_up_time = ModelChoices.look_up_time  # the live server replaces it


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The one line of an error."""
        text: str = self.json["error"]
        assert "\n" not in text
        return text


@dataclass
class Live:
    """A running server and how to call it."""

    ready: Ready
    said: list[str] = field(default_factory=list)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Response:
        connection = http.client.HTTPConnection("127.0.0.1", self.ready.access.port, timeout=120)
        try:
            connection.request(method, path, body, {k.replace("_", "-"): v for k, v in headers.items()})
            response = connection.getresponse()
            return Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def post_form(self, path: str, *parts: tuple[str, str | None, bytes], cut: int | None = None) -> Response:
        """Send a form; a part is (field, file name or None, content)."""
        body = b""
        for name, file, content in parts:
            named = "" if file is None else f'; filename="{file}"'
            body += (
                f'--xyz\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + content + b"\r\n"
            )
        body = (body + b"--xyz--\r\n")[:cut]
        return self.call("POST", path, body, content_type="multipart/form-data; boundary=xyz")

    def ended(self, id: str) -> Any:
        """The description of a job once it neither waits nor runs."""
        deadline = time.monotonic() + 120
        while (job := self.call("GET", f"/api/jobs/{id}").json)["state"] in ("queued", "running"):
            assert time.monotonic() < deadline, job
            time.sleep(0.01)
        return job

    def is_emptied(self) -> bool:
        """Whether all jobs and files are removed within a minute: a response comes before the server cleans up."""
        deadline = time.monotonic() + 60
        while (kept := self.files or self.call("GET", "/api/jobs").json["jobs"]) and time.monotonic() < deadline:
            time.sleep(0.01)
        return not kept

    @property
    def files(self) -> list[str]:
        """The names of all files of the server."""
        return sorted(path.name for path in self.ready.queue.folder.rglob("*"))


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="package")
def live(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server whose first model is the tiny one, and whose queue takes 20 images of at most 300,000 bytes."""
    limits = Limits(megabytes=0.3, megapixels=1, images=20)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRKD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.setattr(ModelChoices, "look_up_time", lambda self: False)  # loads every model of the zoo
        said: list[str] = []
        with prepared(ServerSettings(port=0, models=[str(checkpoint)], limits=limits), said.append) as ready:
            server = runner(ready)
            thread = threading.Thread(target=server.run, args=[[ready.listener]], daemon=True)
            thread.start()
            yield Live(ready, said)
            server.should_exit = True
            thread.join(20)


@pytest.fixture
def server(live: Live) -> Iterator[Live]:
    """The server with an empty queue; after the test it has no files."""
    yield live
    for image in live.ready.queue:
        live.ready.queue.remove(image.id)
    deadline = time.monotonic() + 60
    while live.files and time.monotonic() < deadline:
        time.sleep(0.01)
    assert live.files == []


@pytest.fixture(scope="package")
def png(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An image of 24x16 as a PNG file."""
    path = tmp_path_factory.mktemp("png") / "a.png"
    write_image(path, ImageData(textured(0, 16, 24)))
    return path.read_bytes()

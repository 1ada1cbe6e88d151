from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest

from srkd.errors import SrkdError
from srkd.files.download import check_address, download

CONTENT = bytes(range(256)) * 3000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """A web server on loopback that can misbehave; `asked` lists the Range header of each request."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    ranges: bool = True
    cut: list[int] = field(default_factory=list)  # bytes after which each next response breaks off
    codes: list[int] = field(default_factory=list)  # status codes returned first
    asked: list[str | None] = field(default_factory=list)
    port: int = 0
    shift: int = 0
    length: str | None = None  # a Content-Length that is not that of the body; "" for none
    redirect: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/data.bin"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers.get("Range")
        self.asked.append(wanted)
        if self.codes:
            request.send_error(self.codes.pop(0))
            return
        if self.redirect is not None:
            request.send_response(302)
            request.send_header("Location", self.redirect)
            request.end_headers()
            return
        start = 0
        fresh = request.headers.get("If-Range") == self.etag
        if wanted and self.ranges and fresh:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(self.content):
                request.send_error(416)
                return
        body = self.content[start:]
        request.send_response(206 if start else 200)
        if start:
            end = len(self.content) - 1
            request.send_header("Content-Range", f"bytes {start + self.shift}-{end}/{len(self.content)}")
        if self.etag:
            request.send_header("ETag", self.etag)
        length = str(len(body)) if self.length is None else self.length
        if length:
            request.send_header("Content-Length", length)
        request.end_headers()
        if self.cut:
            body = body[: self.cut.pop(0)]
        with suppress(ConnectionError):  # the client may have closed the connection
            request.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.port = http.server_address[1]
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    http.shutdown()
    thread.join()
    http.server_close()


def fetch(server: Server, final: Path, sha256: str | None = SHA256, tries: int = 3) -> str:
    return download(server.url, final, sha256, tries=tries, wait=0.0, timeout=5)


def test_a_plain_download_with_progress(server: Server, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    found = download(server.url, tmp_path / "x" / "data.bin", SHA256, lambda n, of: seen.append((n, of)))
    assert found == SHA256
    assert (tmp_path / "x" / "data.bin").read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["data.bin"]


def test_a_broken_connection_is_resumed(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    server.cut = [300_000, 100_000]
    assert fetch(server, tmp_path / "data.bin") == SHA256
    assert server.asked == [None, "bytes=300000-", "bytes=400000-"]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2 and "ended after 300000 of 768000 bytes; trying again in 0 s" in told[0]


def test_another_run_resumes_too(server: Server, tmp_path: Path) -> None:
    server.cut = [1000]
    with pytest.raises(
        SrkdError, match="ended after 1000 of 768000 bytes, and 1 tries did not help; 1000 bytes are kept"
    ):
        fetch(server, tmp_path / "data.bin", tries=1)
    assert not (tmp_path / "data.bin").exists()
    assert fetch(server, tmp_path / "data.bin") == SHA256
    assert server.asked == [None, "bytes=1000-"]


def test_a_file_that_changed_on_the_server_starts_again(server: Server, tmp_path: Path) -> None:
    server.cut = [1000]
    with pytest.raises(SrkdError):
        fetch(server, tmp_path / "data.bin", tries=1)
    server.content, server.etag = CONTENT[::-1], '"two"'
    fetch(server, tmp_path / "data.bin", sha256=None)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT[::-1]


@pytest.mark.parametrize(("etag", "ranges"), [(None, True), ('W/"weak"', True), ('"one"', False)])
def test_servers_that_cannot_resume(server: Server, tmp_path: Path, etag: str | None, ranges: bool) -> None:
    server.etag, server.ranges, server.cut = etag, ranges, [1000]
    assert fetch(server, tmp_path / "data.bin") == SHA256


def test_a_wrong_range_is_discarded(server: Server, tmp_path: Path) -> None:
    server.cut, server.shift = [1000], 7
    assert fetch(server, tmp_path / "data.bin") == SHA256
    assert server.asked == [None, "bytes=1000-", None]


def test_a_partial_file_that_is_complete(server: Server, tmp_path: Path) -> None:
    server.cut = [1000]
    with pytest.raises(SrkdError):
        fetch(server, tmp_path / "data.bin", tries=1)
    server.content = CONTENT[:1000]
    fetch(server, tmp_path / "data.bin", sha256=None)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT[:1000]


def test_temporary_and_permanent_errors(server: Server, tmp_path: Path) -> None:
    server.codes = [503, 429]
    assert fetch(server, tmp_path / "data.bin") == SHA256
    server.codes = [404]
    with pytest.raises(SrkdError, match="the server returned 404"):
        fetch(server, tmp_path / "b")
    server.codes = [500] * 9
    with pytest.raises(SrkdError, match=r"500 .*, and 3 tries did not help"):
        fetch(server, tmp_path / "c")
    assert len(server.codes) == 6


def test_a_wrong_checksum_raises_and_removes_the_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=f"sha256 is {SHA256}, but it should be 0000"):
        fetch(server, tmp_path / "data.bin", sha256="0" * 64)
    assert list(tmp_path.iterdir()) == []


def test_bad_addresses_and_folders(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="not an http or https address"):
        download("file:///etc/passwd", tmp_path / "a")
    with pytest.raises(SrkdError, match="the connection failed"):
        download("http://127.0.0.1:1/x", tmp_path / "a", tries=1)
    (tmp_path / "file").write_text("x")
    with pytest.raises(SrkdError, match="cannot write"):
        download("http://127.0.0.1:1/x", tmp_path / "file" / "a")


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ("", "the server sends more than 100,000 bytes"),
        ("no number", "the server sends more than 100,000 bytes"),
        ("-5", "the server sends more than 100,000 bytes"),
        ("768000", "the server announces 768,000 bytes, more than the limit of 100,000"),
        ("99999999999999999999", "the server announces 99,999,999,999,999,999,999 bytes"),
    ],
)
def test_endless_bodies_are_cut_off(server: Server, tmp_path: Path, length: str, words: str) -> None:
    server.length = length
    with pytest.raises(SrkdError, match=f"{words}.*; what arrived was removed"):
        download(server.url, tmp_path / "data.bin", max_bytes=100_000, tries=1, wait=0, timeout=5)
    assert list(tmp_path.iterdir()) == [] and len(server.asked) == 1


def test_bodies_without_a_length_are_received_up_to_the_limit(server: Server, tmp_path: Path) -> None:
    server.length = ""
    assert fetch(server, tmp_path / "data.bin") == SHA256


def test_a_file_larger_than_the_free_space_is_not_started(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(SrkdError, match="768,000 bytes are needed, and the disk has 1,000"):
        fetch(server, tmp_path / "data.bin")


def test_http_needs_a_checksum(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match="http downloads may be altered in transit"):
        download("http://example.org/data.bin", tmp_path / "a")
    check_address("http://example.org/data.bin", SHA256)
    check_address("https://example.org/data.bin", None)
    server.redirect = "http://example.org/data.bin"
    with pytest.raises(SrkdError, match=r"^http://example.org/data.bin: http downloads may be altered"):
        fetch(server, tmp_path / "a", sha256=None)
    server.redirect = "file:///etc/passwd"
    with pytest.raises(SrkdError):
        fetch(server, tmp_path / "a", tries=1)
    assert list(tmp_path.iterdir()) == []

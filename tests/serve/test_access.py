"""Who may use a server: hosts, tokens, other sites; and what the responses allow a page to do."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from serve.conftest import Live
from starlette.responses import PlainTextResponse

from srkd import web
from srkd.errors import SrkdError
from srkd.serve.access import Access, Guard, access_for, is_loopback
from srkd.serve.app import STATIC


def ask(access: Access, method: str = "GET", path: str = "/api/jobs", query: str = "", **headers: str) -> Any:
    """(status, headers) of a guarded application that responds to everything with 200."""
    headers = {"host": "localhost:8642"} | {name.replace("_", "-"): value for name, value in headers.items()}
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "server": ("127.0.0.1", 8642),
        "scheme": "http",
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(Guard(PlainTextResponse("inside"), access)(scope, receive, send))
    return sent[0]["status"], {name.decode(): value.decode() for name, value in sent[0]["headers"]}


LOCAL = access_for("127.0.0.1", 8642, None)
SECRET = "a-secret-token"
REMOTE = access_for("0.0.0.0", 8642, SECRET)


@pytest.mark.parametrize("host", ["localhost:8642", "127.0.0.1", "[::1]:8642", "LOCALHOST:9000"])
def test_names_of_this_machine_are_admitted(host: str) -> None:
    assert ask(LOCAL, host=host)[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example:8642", "", "127.0.0.1.evil.example"])
def test_a_name_that_was_rebound_to_this_machine_is_not(host: str) -> None:
    assert ask(LOCAL, host=host)[0] == 421
    assert ask(LOCAL, path="/", host=host)[0] == 421


def test_pages_of_other_sites_can_neither_send_nor_read() -> None:
    for origin in ("http://evil.example", "null", "http://localhost:9999", "http://["):
        assert ask(LOCAL, "POST", origin=origin)[0] == 403
        assert ask(LOCAL, "GET", origin=origin)[0] == 403
    assert ask(LOCAL, "POST", sec_fetch_site="cross-site")[0] == 403
    assert ask(LOCAL, "POST", origin="http://localhost:8642", sec_fetch_site="same-origin")[0] == 200
    assert ask(LOCAL, "POST")[0] == 200, "programs send no origin"


def test_beyond_loopback_everything_needs_the_token() -> None:
    for path in ("/", "/api", "/page.js", "/api/jobs", "/openapi.json"):
        assert ask(REMOTE, path=path)[0] == 401
        assert ask(REMOTE, path=path, authorization="Bearer wrong")[0] == 401
        assert ask(REMOTE, path=path, authorization=f"Bearer {SECRET}")[0] == 200
        assert ask(REMOTE, path=path, cookie=f"srkd_token_8642={SECRET}")[0] == 200
    assert ask(REMOTE, path="/api/jobs", query=f"token={SECRET}")[0] == 401, "in the address of the page only"
    assert ask(REMOTE, authorization="Bearer \xe9")[0] == 401
    assert ask(REMOTE, host="any.name", authorization=f"Bearer {SECRET}")[0] == 200


def test_the_printed_address_exchanges_the_token_for_a_cookie() -> None:
    status, headers = ask(REMOTE, path="/", query=f"token={SECRET}")
    assert status == 303 and headers["location"] == "/"
    cookie = headers["set-cookie"].lower()
    assert f"srkd_token_8642={SECRET}" in cookie and "httponly" in cookie and "samesite=strict" in cookie
    assert ask(REMOTE, path="/", query="token=wrong")[0] == 401


def test_a_random_token_is_made_only_where_it_is_needed() -> None:
    assert access_for("127.0.0.1", 1, None).token is None
    assert access_for("127.0.0.1", 1, SECRET).token == SECRET
    tokens = {access_for("0.0.0.0", 1, None).token for _ in range(3)}
    assert len(tokens) == 3 and all(token is not None and len(token) >= 20 for token in tokens)


def test_what_is_loopback() -> None:
    assert is_loopback("127.0.0.1") and is_loopback("::1") and is_loopback("127.8.9.1")
    assert not is_loopback("0.0.0.0") and not is_loopback("192.0.2.1")
    with pytest.raises(SrkdError, match=r"--host no\.such\.host\.invalid: no such host"):
        is_loopback("no.such.host.invalid")


def test_every_response_forbids_what_the_page_does_not_need(server: Live) -> None:
    for path in ("/", "/api", "/page.js", "/api/jobs", "/nothing"):
        headers = server.call("GET", path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'") and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
        assert headers["cross-origin-resource-policy"] == "same-origin"
    assert server.call("GET", "/", host="evil.example").status == 421


def test_the_pages_name_no_other_host() -> None:
    for folder in (STATIC, web.FOLDER):
        for path in folder.iterdir():
            if path.suffix not in (".py", ".pyc") and path.is_file():
                text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
                assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text), path


def test_all_files_of_a_page_are_served_with_their_types(server: Live) -> None:
    page = server.call("GET", "/").body.decode()
    scripts = (STATIC / "page.js").read_text(encoding="utf-8")
    named = re.findall(r'(?:href|src)="([\w.]+\.\w+)"', page) + re.findall(r'from "\./([\w.]+)"', scripts)
    assert {"base.css", "page.css", "page.js", "compare.js", "icon.svg"} <= set(named)
    kinds = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    for name in named:
        response = server.call("GET", f"/{name}")
        assert response.status == 200 and response.headers["content-type"].startswith(kinds[Path(name).suffix])

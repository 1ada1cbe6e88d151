"""Who may use a server: its token, and protection from other web sites in the same browser."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import socket
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from srkd.errors import SrkdError

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_SAFE = ("GET", "HEAD")
# Nothing comes from elsewhere, nothing runs that is not a file of the page, and nobody may embed it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
}


@dataclass(frozen=True)
class Access:
    """The rules of one server.

    Args:
        token: what each request must carry; None on loopback without one.
        hosts: the names in the Host header that are accepted, or None for all. On loopback they protect from DNS
            rebinding: a web site whose name resolves to this machine would be of the same origin as this server.
        port: the server's, part of the cookie's name, as cookies are shared by the ports of a host.
    """

    token: str | None
    hosts: frozenset[str] | None
    port: int

    @property
    def cookie(self) -> str:
        return f"srkd_token_{self.port}"

    def admits(self, given: str) -> bool:
        return self.token is None or hmac.compare_digest(self.token.encode(), given.encode())


def access_for(host: str, port: int, token: str | None) -> Access:
    """The access rules of a server that is bound to `host`: a random token beyond loopback, unless one is given."""
    if is_loopback(host):
        return Access(token, frozenset({*LOOPBACK, host.lower(), f"[{host.lower()}]"}), port)
    return Access(token or secrets.token_urlsafe(18), None, port)


def is_loopback(host: str) -> bool:
    """Whether all addresses of a host are reachable from this machine only.

    Raises:
        SrkdError: the name cannot be resolved.
    """
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError) as error:
        raise SrkdError(f"--host {host}: no such host; 127.0.0.1 is this machine, 0.0.0.0 all its networks") from error
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)


class Guard:
    """ASGI middleware that rejects requests which `Access` does not admit, and adds headers to every response."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                known = {name.lower() for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in known]
                message["headers"] = [*message["headers"], *more]
            await send(message)

        request = Request(scope)
        response = self._rejected(request)
        await (response or self._app)(scope, receive, send_with_headers)

    def _rejected(self, request: Request) -> Response | None:
        """The response to a request that goes no further; None for one that may."""
        host = request.headers.get("host", "")
        if self._access.hosts is not None and _without_port(host).lower() not in self._access.hosts:
            return error_response(421, f"this server is not {host[:100] or 'without a Host header'}")
        origin = request.headers.get("origin")
        if origin is not None and _host_of(origin) != host.lower():
            return error_response(403, "a request from the page of another site")
        if request.method not in _SAFE and request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return error_response(403, "a request from the page of another site")
        return self._unauthorised(request)

    def _unauthorised(self, request: Request) -> Response | None:
        access = self._access
        given = request.headers.get("authorization", "")
        bearer = given[7:].strip() if given[:7].lower() == "bearer " else ""
        if access.admits(bearer) or access.admits(request.cookies.get(access.cookie, "")):
            return None
        if request.url.path == "/" and request.method == "GET":
            token = "".join(parse_qs(request.url.query).get("token", [""]))
            if access.admits(token):  # the address that the server printed: keep the token out of the history
                redirect = RedirectResponse("/", 303)
                redirect.set_cookie(access.cookie, token, httponly=True, samesite="strict", path="/")
                return redirect
            return PlainTextResponse(
                "This server needs a token: open the address that it printed when it started.", 401
            )
        response = error_response(
            401, "the token is missing or wrong: send it as the header Authorization: Bearer TOKEN"
        )
        response.headers["www-authenticate"] = "Bearer"
        return response


def _host_of(origin: str) -> str:
    """Host and port of an Origin header; empty for one that is malformed."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _without_port(host: str) -> str:
    """The name in a Host header: "[::1]:80" to "[::1]"."""
    end = host.rfind("]") + 1
    return host[:end] if end else host.partition(":")[0]


def error_response(status: int, message: str) -> Response:
    """An error as the API reports it: {"error": one line}."""
    return JSONResponse({"error": " ".join(message.split())}, status)

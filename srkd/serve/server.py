"""Starting and ending a server."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import uvicorn
from starlette.applications import Starlette

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path, scratch, writing
from srkd.files.cache import cache_place
from srkd.files.lock import locked_itself
from srkd.images.write import format_to_write
from srkd.serve.access import Access, access_for
from srkd.serve.app import build
from srkd.serve.choices import ModelChoices
from srkd.serve.limits import Limits
from srkd.serve.queue import ImageQueue
from srkd.serve.watch import FolderWatch, check_folders

PORT = 8642
_BACKLOG = 128
_GRACE = 2  # seconds that open connections have when the server stops
Say = Callable[[str], None]


@dataclass(frozen=True)
class ServerSettings:
    """How a server runs.

    Args:
        port: 0 takes a free one.
        token: what requests must carry; beyond loopback None means a random one.
        models: checkpoints or exported files that are offered besides the zoo's models.
        watch, output: folders; each image that appears in the first is upscaled into the second.
        watch_model: the model for them; "auto" is the first that is offered.
        watch_format: the format of their results; None keeps it.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: str | None = None
    models: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)
    watch: Path | None = None
    output: Path | None = None
    watch_format: str | None = None

    def __post_init__(self) -> None:
        if (self.watch is None) != (self.output is None):
            raise SrkdError("--watch IN and --output OUT belong together: name both folders, or neither")
        if self.watch is not None and self.output is not None:
            check_folders(self.watch, self.output)
        if self.watch_format is not None:
            format_to_write(self.watch_format)
        if not 0 <= self.port < 1 << 16:
            raise SrkdError(f"--port {self.port}: a port is from 0 (any free one) to 65535")
        if self.token is not None and (len(self.token) < 8 or not self.token.isascii() or not self.token.isprintable()):
            raise SrkdError("--token: at least 8 printable ASCII characters; without --token a random one is made")


@dataclass(frozen=True)
class Ready:
    """A server that accepts connections once its `app` is run on `listener`."""

    app: Starlette
    listener: socket.socket
    access: Access
    queue: ImageQueue
    address: str

    @property
    def url(self) -> str:
        """The address of the page, with the token that a browser must send first."""
        token = "" if self.access.token is None else f"?token={quote(self.access.token)}"
        return f"{self.address}/{token}"


@contextmanager
def prepared(settings: ServerSettings, say: Say) -> Iterator[Ready]:
    """Within the block the queue runs and the folder is watched; afterwards temporary files are removed.

    Raises:
        SrkdError: a port in use, a host of another machine, an output folder of another server, a model that cannot be
            loaded, a cache folder that cannot be written.
    """
    with ExitStack() as stack:
        listener = stack.enter_context(_listening(settings.host, settings.port))
        port = listener.getsockname()[1]
        access = access_for(settings.host, port, settings.token)
        if settings.output is not None:
            _lock(stack, settings.output)
        folder = stack.enter_context(scratch(cache_place("serve")))
        choices = ModelChoices(settings.models, say)
        queue = ImageQueue(folder, choices, settings.limits, say)
        stack.callback(queue.close)
        queue.start()
        watching = ""
        if settings.watch is not None and settings.output is not None:
            watch = FolderWatch(queue, settings.watch, settings.output, "auto", settings.watch_format, say)
            stack.callback(watch.stop)
            watch.start()
            watching = f"{printable_path(settings.watch)} into {printable_path(settings.output)}"
        app = build(queue, access, watching)
        yield Ready(app, listener, access, queue, f"http://{_shown(settings.host)}:{port}")


def serve(settings: ServerSettings, say: Say, announce: Callable[[Ready], None]) -> None:
    """Run a server until it is interrupted; `announce` is called once it is ready.

    Raises:
        SrkdError: as `prepared`.
    """
    with prepared(settings, say) as ready:
        announce(ready)
        runner(ready).run([ready.listener])


def runner(ready: Ready) -> uvicorn.Server:
    """The HTTP server of an application; `run([ready.listener])` serves until it is interrupted."""
    config = uvicorn.Config(
        ready.app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GRACE,
    )
    return _Server(config, ready.queue)


class _Server(uvicorn.Server):
    """A server that, when it stops, first cancels what its clients wait for."""

    def __init__(self, config: uvicorn.Config, queue: ImageQueue) -> None:
        super().__init__(config)
        self._queue = queue

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._queue.cancel_all()
        await super().shutdown(sockets)


def _lock(stack: ExitStack, output: Path) -> None:
    with writing(output):
        output.mkdir(parents=True, exist_ok=True)
    if not stack.enter_context(locked_itself(output)):
        raise SrkdError(
            f"{printable_path(output)}: another srkd serve writes there; stop it, or choose another --output"
        )


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """A listening socket of this process."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise SrkdError(f"--host {host}: no such host; 127.0.0.1 is this machine, 0.0.0.0 all its networks") from error
    with socket.socket(family, kind, proto) as listener:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows' SO_REUSEADDR would share a port that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            raise SrkdError(_why_not_bound(host, port, error)) from error
        yield listener


def _why_not_bound(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use, perhaps by another srkd serve: stop it, or choose another --port"
    if error.errno == errno.EACCES:
        return f"port {port} of {host}: no permission; choose a --port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this machine"
    return f"port {port} of {host}: {error.strerror}"


def _shown(host: str) -> str:
    """The host as it stands in an address; for all networks, the name of this machine."""
    if host in ("0.0.0.0", "::", ""):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host

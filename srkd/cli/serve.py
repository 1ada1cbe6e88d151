"""Open a page on this machine to upscale images, and an HTTP API for programs.

The server accepts connections from this machine only, unless --host names another address; it then requires a token.
Uploads and results are in a temporary folder that is removed at the end. With --watch, each image that appears in a
folder is upscaled into another one. Ctrl-C ends the server.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from srkd.cli.main import add_trust
from srkd.terminal import tell

if TYPE_CHECKING:
    from srkd.serve.server import Ready


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", default="127.0.0.1", metavar="H", help="address to listen on (default: %(default)s, this machine)")
    add("--port", type=int, default=8642, metavar="P", help="port, 0 for any free one (default: %(default)s)")
    add("--token", metavar="T", help="what requests must carry (default: none on this machine, else a random one)")
    add(
        "-m",
        "--model",
        action="append",
        default=[],
        metavar="M",
        help="checkpoint or exported file to offer first, besides the zoo's models; may be repeated",
    )
    add("--watch", type=Path, metavar="IN", help="folder whose new images are upscaled, by the first model")
    add("-o", "--output", type=Path, metavar="OUT", help="folder for the results of --watch; nothing is overwritten")
    add("--format", metavar="F", help="format of the results of --watch (default: as the input; png for others)")
    add("--max-megabytes", type=float, default=100, metavar="N", help="limit of an upload (default: %(default)s)")
    add("--max-megapixels", type=float, default=200, metavar="N", help="limit of a result (default: %(default)s)")
    add("--max-images", type=int, default=200, metavar="N", help="limit of the queue (default: %(default)s)")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    from importlib.util import find_spec

    from srkd.errors import SrkdError

    missing = [name for name in ("starlette", "uvicorn", "python_multipart") if find_spec(name) is None]
    if missing:
        raise SrkdError(f"srkd serve needs {', '.join(missing)}: pip install 'srkd[serve]'")
    from srkd.serve.limits import Limits
    from srkd.serve.server import ServerSettings, serve
    from srkd.training.malloc import keep_freed_memory

    keep_freed_memory()
    limits = Limits(args.max_megabytes, args.max_megapixels, args.max_images)
    settings = ServerSettings(
        args.host, args.port, args.token, args.model, limits, args.watch, args.output, args.format
    )
    serve(settings, tell, _announce)
    return 0


def _announce(ready: Ready) -> None:
    print(f"srkd serve: {ready.url}", flush=True)
    if ready.access.token is not None:
        tell(f"programs send the header Authorization: Bearer {ready.access.token}")
    tell("Ctrl-C ends it; uploads and results are then removed")

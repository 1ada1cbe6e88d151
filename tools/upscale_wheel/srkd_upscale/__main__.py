"""`srkd-upscale photo.jpg` is `srkd upscale photo.jpg`; the other commands are named, as in `srkd-upscale doctor`."""

from __future__ import annotations

import sys

from srkd_upscale import activate


def main() -> int:
    """Run the command with the process's arguments; returns its exit code."""
    activate(first=True)
    from srkd.cli.main import commands
    from srkd.cli.main import main as run

    arguments = sys.argv[1:]
    if arguments and arguments[0] not in ("-h", "--help", "--version", *commands()):
        arguments = ["upscale", *arguments]
    return run(arguments)


if __name__ == "__main__":
    raise SystemExit(main())

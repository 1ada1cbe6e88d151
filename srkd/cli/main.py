"""`srkd <command>`: finds the command, turns mistakes into one line and an exit code.

Exit codes: 0 done; 1 a mistake in the input; 2 wrong arguments, or some of several inputs failed; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence

from srkd.errors import SrkdError, unknown


def commands() -> list[str]:
    """Every command: the files of this folder."""
    import srkd.cli as package

    return sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.name != "main")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        import srkd

        print(f"srkd {srkd.__version__}")
        return 0
    name = arguments[0].replace("-", "_")
    debug = "--debug" in arguments
    try:
        if name not in commands():
            raise unknown("command", arguments[0], commands())
        return _run(name, arguments[1:])
    except SrkdError as error:
        if debug:
            raise
        print(f"srkd: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        if debug:
            raise
        print("srkd: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        if debug or error.strerror is None:
            raise
        if isinstance(error, BrokenPipeError):
            # The reader of our output went away (`| head`): nothing is wrong, and nothing more can be said.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        print(f"srkd: {error.filename or 'output'}: {error.strerror}", file=sys.stderr)
        return 1


def _run(name: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(f"srkd.cli.{name}")
    parser = argparse.ArgumentParser(
        prog=f"srkd {name}", description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return module.run(parser.parse_args(arguments)) or 0


def _overview() -> str:
    lines = ["usage: srkd <command> [arguments]", ""]
    for name in commands():
        first = (importlib.import_module(f"srkd.cli.{name}").__doc__ or "").strip().splitlines()
        lines.append(f"  {name:<14} {first[0] if first else ''}")
    return "\n".join([*lines, "", "srkd <command> --help tells more; srkd --version"])

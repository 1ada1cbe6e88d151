"""Pages of the command line: the options of all commands, from their parsers, and the exit codes."""

from __future__ import annotations

import argparse
import importlib
import inspect

from srkd.cli import main
from srkd.docs.markdown import prose, table


class _Fixed(argparse.RawDescriptionHelpFormatter):
    """A help formatter of fixed width, independent of the terminal."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=96)


def reference() -> str:
    """The page of all commands."""
    parts = ["# Commands", "Run as `srkd <command>`, or `python tools/<command>.py` in a checkout."]
    for name in main.commands():
        module = importlib.import_module(f"srkd.cli.{name}")
        parser = argparse.ArgumentParser(prog=f"srkd {name}", formatter_class=_Fixed)
        module.add_arguments(parser)
        parts += [f"## {name}", prose(inspect.getdoc(module) or ""), _help(parser)]
        for action, inner in _actions(parser).items():
            inner.formatter_class = _Fixed
            parts += [f"### {name} {action}", _help(inner)]
    return "\n\n".join(parts) + "\n"


def _help(parser: argparse.ArgumentParser) -> str:
    return f"```text\n{parser.format_help().strip()}\n```"


def _actions(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def exit_codes() -> str:
    """The page of the exit codes."""
    rows = [[f"`{code}`", prose(meaning)] for code, meaning in main.EXIT_CODES.items()]
    intro = (
        "All commands use the same exit codes, for scripts and schedulers. An error is one line on standard error; "
        "`--debug` shows the traceback."
    )
    return "\n\n".join(["# Exit codes", intro, table(["code", "meaning"], rows)]) + "\n"

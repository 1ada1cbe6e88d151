"""Get data sets ready: fetch, check, and decode once into memory-mapped arrays.

WHAT is a folder of pictures, or a data set (--list shows them), or one part of it: BSDS500/train. Pictures come from a
local mirror (--source, or the environment variable SRKD_DATA), an installed package or the web. Training and evaluation
find what was prepared here by themselves.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import ExitStack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("what", nargs="*", metavar="WHAT", help="a folder, a data set or a part of one")
    add("-s", "--scale", type=int, help="crop HR to a multiple of it, and make LR by the protocol (imresize)")
    add("--lr", metavar="FOLDER", help="take LR from this folder, paired by name with the folder WHAT")
    add("--source", metavar="DIR", help="a local mirror that must hold the pictures")
    add("--list", action="store_true", help="print the data sets with their parts, licences and sources")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.errors import SrkdError
    from srkd.sr.datasets import describe, names, prepare, report

    if args.list:
        print("\n\n".join(describe(name) for name in names()))
        return 0
    if not args.what:
        raise SrkdError("prepare_data needs a folder or a data set; --list shows those it knows")
    if args.lr is not None and args.scale is None:
        raise SrkdError("--lr needs --scale")
    with ExitStack() as stack:
        for what in args.what:
            for item in prepare(what, args.scale, args.lr, args.source and Path(args.source), _bars(stack)):
                print(report(item))
    return 0


def _bars(stack: ExitStack) -> Callable[[str, int, int | None], None]:
    """A progress bar for each thing that is worked on, one after the other."""
    from srkd.engine.log import Progress

    bars: dict[str, Progress] = {}

    def say(what: str, done: int, whole: int | None) -> None:
        if what not in bars:
            stack.close()
            bars[what] = stack.enter_context(Progress(what, whole or done))
        if done != bars[what].done:
            bars[what].update(done)

    return say

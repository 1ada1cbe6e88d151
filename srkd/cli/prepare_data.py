"""Prepare data sets: download, check, and decode them once into memory-mapped arrays.

WHAT is a folder of images, a data set (--list shows them) or one part of it, such as BSDS500/train. Images come from a
local mirror (--source, or the environment variable SRKD_DATA), an installed package or the web. Training and evaluation
find prepared data automatically.

Training images are compared by content with all evaluation images on this machine. Near-duplicates (cropped, scaled,
mirrored or recompressed) are listed with their originals, and the exit code is 1. The comparison takes 0.2 s of a core
per image, once.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from srkd.data.manifests import Progress
    from srkd.data.near_duplicates import Duplicate, Index
    from srkd.data.preparation import PreparedPart


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("what", nargs="*", metavar="WHAT", help="a folder, a data set or a part of a data set")
    add("-s", "--scale", type=int, help="crop HR to a multiple of it, and generate LR by the protocol (imresize)")
    add("--lr", metavar="FOLDER", help="take LR from this folder, paired by name with the folder WHAT")
    add("--source", metavar="DIR", help="a local mirror that must contain the images")
    add("--exclude", nargs="+", default=[], metavar="STEM", help="leave images out, as a recipe's `exclude` does")
    add("--evaluation", action="store_true", help="a folder to evaluate on: do not look for near-duplicates")
    add("--pairs", metavar="DIR", help="write each near-duplicate next to its original as PNG into this folder")
    add("--list", action="store_true", help="print the data sets with their parts, licences and sources")


def run(args: argparse.Namespace) -> int:
    from srkd.data.manifests import describe, names
    from srkd.data.near_duplicates import Index, references, refuse
    from srkd.data.preparation import prepare, report
    from srkd.errors import SrkdError
    from srkd.files.names import check_folder

    if args.list:
        print("\n\n".join(describe(name) for name in names()))
        return 0
    if not args.what:
        raise SrkdError("prepare_data needs a folder or a data set; --list shows the data sets")
    if args.lr is not None and args.scale is None:
        raise SrkdError("--lr needs --scale")
    if args.pairs:
        check_folder(Path(args.pairs))
    mirror = Path(args.source) if args.source else None
    index = cache(lambda: Index(references(mirror)))
    found: list[Duplicate] = []
    with ExitStack() as stack:
        say = _bars(stack)
        for item in prepare(args.what, args.scale, args.lr, mirror, say, args.exclude):
            print(report(item))
            if item.role in (None, "train") and not args.evaluation:
                found += _near_duplicates(item, index(), args.pairs and Path(args.pairs), say)
    refuse(found)
    return 0


def _near_duplicates(item: PreparedPart, index: Index, pairs: Path | None, say: Progress) -> list[Duplicate]:
    """The near-duplicates of evaluation images among training images; prints a summary of the comparison."""
    from srkd.data.near_duplicates import check, write_pair
    from srkd.files.atomic import printable_path

    if not index.references:
        print(f"{item.name}: not compared with evaluation images: none found; run prepare_data Set5 Set14 B100")
        return []
    checked = check(item.store, index, lambda done, whole: say(f"{item.name}, near-duplicates", done, whole))
    sets = ", ".join(dict.fromkeys(reference.set_name for reference in index.references))
    smooth = f"; too smooth to compare: {', '.join(map(printable_path, checked.smooth))}" if checked.smooth else ""
    print(f"{item.name}: {len(checked.duplicates)} near-duplicates of {len(index.references)} images of {sets}{smooth}")
    for duplicate in checked.duplicates:
        pair = f"; see {printable_path(write_pair(duplicate, pairs))}" if pairs else ""
        print(f"  {duplicate}{pair}")
    return checked.duplicates


def _bars(stack: ExitStack) -> Progress:
    """Progress reports with one bar per task, one after the other."""
    from srkd.training.log import Progress as Bar

    bars: dict[str, Bar] = {}

    def say(what: str, done: int, whole: int | None) -> None:
        if what not in bars:
            stack.close()
            bars[what] = stack.enter_context(Bar(what, whole or done))
        if done != bars[what].done:
            bars[what].update(done)

    return say

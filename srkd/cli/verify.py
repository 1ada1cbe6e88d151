"""Verify exported files by the LR/SR pairs that they carry, in every runtime that opens them.

A file that was changed, or whose output is further from torch's than the tolerance that it states, fails (exit code 1;
2 if other files passed). Files of other tools carry no pairs.
"""

from __future__ import annotations

import argparse

from srkd.cli.main import add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("files", nargs="+", metavar="FILE", help="files that srkd export wrote")
    add("--checkpoint", metavar="M", help="zoo name or checkpoint in which to replay the pairs, too")
    add("--json", action="store_true", help="print JSON instead of the table")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    from srkd.errors import PartialFailure, SrkdError
    from srkd.inference import verify
    from srkd.inference.loading import local_file
    from srkd.report import tables

    rows, failed = [], list[str]()
    for name in args.files:
        try:
            found = verify.verify(local_file(name), args.checkpoint)
            rows += found
            failed += ["; ".join(reasons)] if (reasons := list(verify.failures(found))) else []
        except SrkdError as error:
            failed.append(str(error))
    if rows:
        print((tables.as_json if args.json else tables.text)(rows, verify.COLUMNS))
    if failed:
        raise (PartialFailure if len(failed) < len(args.files) else SrkdError)("; ".join(failed))
    return 0

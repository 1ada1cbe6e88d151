"""Check the environment: versions, processor, GPU, extras, data, models, speed; with advice.

Takes about ten seconds. The exit code is 1 if there are problems; notes do not count.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    from srkd.commands import doctor
    from srkd.report import tables
    from srkd.training.malloc import keep_freed_memory

    keep_freed_memory()
    findings = doctor.examine()
    rows = [finding.row() for finding in findings]
    print((tables.as_json if args.json else tables.text)(rows, doctor.COLUMNS))
    return 0 if doctor.healthy(findings) else 1

"""Demonstration in a few minutes on real photographs: train, distil, evaluate, upscale, report."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="FOLDER", help="photographs to use (default: those of scikit-image)")
    parser.add_argument("-o", "--output", default="demo", help="output folder (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--quick", action="store_true", help="small images and few steps, as a quick check")


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.commands import demo
    from srkd.report import tables
    from srkd.training.malloc import keep_freed_memory

    keep_freed_memory()
    out = Path(args.output)
    results = demo.run(Path(args.data) if args.data else None, out, demo.QUICK if args.quick else demo.FULL)
    if args.json:
        print(tables.as_json(results["rows"], demo.COLUMNS))
        return 0
    print(tables.text(results["rows"], demo.COLUMNS))
    print(
        f"\n{out / 'report.html'}: the report\n{out / 'upscaled.png'}: a photograph upscaled by the distilled student"
    )
    return 0

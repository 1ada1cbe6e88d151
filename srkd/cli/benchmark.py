"""Measure srkd on this machine: `training` against BasicSR's own way."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    training = actions.add_parser("training", help="training steps per second beside BasicSR's")
    training.add_argument("--data", required=True, metavar="FOLDER", help="HR pictures that both train on")
    training.add_argument("--seconds", type=float, default=20.0, help="time of each of four (default: %(default)s)")
    training.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    import json
    from pathlib import Path

    from srkd.report import tables
    from srkd.study import benchmark

    result = benchmark.training(Path(args.data), args.seconds)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print(tables.text(result["rows"], benchmark.COLUMNS))
        print(f"\na distilled step takes {result['kd_step_cost']:.2f} times one without distillation")
    return 0

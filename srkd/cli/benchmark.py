"""Measure srkd on this machine: `training` against BasicSR's own way, the cost of each of the `losses`."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    training = actions.add_parser("training", help="training steps per second beside BasicSR's")
    losses = actions.add_parser("losses", help="what each loss adds to a training step")
    for parser_, seconds in ((training, 20.0), (losses, 3.0)):
        parser_.add_argument("--data", required=True, metavar="FOLDER", help="HR pictures to train on")
        parser_.add_argument("--seconds", type=float, default=seconds, help="time of each (default: %(default)s)")
        parser_.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    import json
    from pathlib import Path

    from srkd.report import tables
    from srkd.study import benchmark

    if args.action == "training":
        result = benchmark.training(Path(args.data), args.seconds)
        columns = benchmark.COLUMNS
        closing = f"a distilled step takes {result['kd_step_cost']:.2f} times one without distillation"
    else:
        result = benchmark.loss_costs(Path(args.data), args.seconds)
        columns = benchmark.LOSS_COLUMNS
        closing = "\n".join([f"a supervised step takes {result['supervised_ms']:.1f} ms",
                             *(f"left out: {name}: {why}" for name, why in result["left_out"].items())])  # fmt: skip
    print(json.dumps(result, indent=2) if args.json else f"{tables.text(result['rows'], columns)}\n\n{closing}")
    return 0

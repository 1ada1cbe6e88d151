"""A slow network and a budget in, a fast student out: chosen by measuring, distilled, exported, verified, reported.

Everything is kept in one folder; interrupted, the same command goes on from there. Some of your photographs are held
out to choose between students; none may belong to an evaluation set. Without --target-runtime the fastest one that is
installed is taken, and int8 only where nothing else meets the budget. --max-mb counts the checkpoint; with int8, the
exported file.
"""

from __future__ import annotations

import argparse

from srkd.cli.main import add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("teacher", metavar="TEACHER", help="zoo name or checkpoint, anything that spandrel reads too")
    add("--data", required=True, nargs="+", metavar="FOLDER", help="photographs, sub-folders too, or data sets by name")
    add("--scale", type=int, default=2, help="factor (default: %(default)s)")
    add("--max-ms", type=float, metavar="MS", help="longest time for one input of --at")
    add("--at", default="256x256", metavar="WxH", help="input that --max-ms is for (default: %(default)s)")
    add("--max-mb", type=float, metavar="MB", help="largest file")
    add("--time", default="60m", help="for all of it: 600s, 10m, 1h (default: %(default)s)")
    add("-o", "--output", required=True, metavar="DIR", help="folder for everything")
    add("--target-runtime", metavar="R", help="torch, openvino or onnxruntime (default: the fastest here)")
    add("--precision", metavar="P", help="fp32, bf16 or int8 (default: the fastest that is not int8)")
    add("--no-control", action="store_true", help="do not train the student once more without the teacher")
    add("--seed", type=int, default=0, help="of weights, crops and batches (default: %(default)s)")
    add("--dry-run", action="store_true", help="measure, show the plan with its times, and keep nothing")
    add("--json", action="store_true", help="print JSON instead of the table")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.benchmarks.inference import size_named
    from srkd.compression import flow, page
    from srkd.compression.request import Budget, Request
    from srkd.errors import PartialFailure
    from srkd.report import tables
    from srkd.values import seconds

    budget = Budget(args.max_ms, args.max_mb, size_named(args.at))
    request = Request(
        args.teacher,
        args.data,
        args.scale,
        budget,
        seconds(args.time),
        args.target_runtime,
        args.precision,
        not args.no_control,
        args.seed,
    )
    show = tables.as_json if args.json else tables.text
    if args.dry_run:
        print(show(flow.rehearse(request), flow.PLAN_COLUMNS))
        return 0
    done = flow.compress(request, Path(args.output))
    print(show(done.rows, page.COLUMNS))
    if not args.json:
        print(f"\n{page.summary(done.results)}\n{done.folder / 'report.html'}: the report")
    if not done.within_budget:
        raise PartialFailure(f"the student is beyond its budget: {done.results['missed']}")
    return 0

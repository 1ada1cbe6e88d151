"""Compress a slow network to a fast student within a budget: measured, distilled, exported, verified, reported.

All files go to one folder; after an interruption, the same command resumes. Some of your photographs are held out to
choose between students; none may belong to an evaluation set. Without --target-runtime the fastest installed runtime is
used, and int8 only if nothing else meets the budget. --max-mb limits the checkpoint; with int8, the exported file.

With --imitate the student learns what the teacher makes of degraded images: of all kinds, or with --like of the kind in
a folder of JPEGs. It is judged by its distance to the teacher.
"""

from __future__ import annotations

import argparse

from srkd.cli.main import add_on, add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("teacher", metavar="TEACHER", help="zoo name or checkpoint, including any that spandrel can load")
    add(
        "--data",
        required=True,
        nargs="+",
        metavar="FOLDER",
        help="folders of photographs (recursive) or names of data sets",
    )
    add("--scale", type=int, default=2, help="upscaling factor (default: %(default)s)")
    add("--max-ms", type=float, metavar="MS", help="maximum time for one input of size --at")
    add("--at", default="256x256", metavar="WxH", help="input size for --max-ms (default: %(default)s)")
    add("--max-mb", type=float, metavar="MB", help="maximum file size")
    add("--time", default="60m", help="total time: 600s, 10m, 1h (default: %(default)s)")
    add("-o", "--output", required=True, metavar="DIR", help="output folder")
    add("--target-runtime", metavar="R", help="torch, openvino or onnxruntime (default: the fastest)")
    add("--precision", metavar="P", help="fp32, bf16 or int8 (default: the fastest except int8)")
    add("--imitate", action="store_true", help="learn the teacher's outputs for degraded images (Real-ESRGAN)")
    add("--like", metavar="FOLDER", help="imitate for JPEGs like these: compression, noise and blur are measured")
    add(
        "--network",
        nargs="+",
        default=[],
        metavar="N",
        help="networks to try, such as ETDS, or single sizes, such as 'ETDS 32x5' (default: those found best so far)",
    )
    add("--no-control", action="store_true", help="do not also train the student without the teacher")
    add("--seed", type=int, default=0, help="random seed of weights, crops and batches (default: %(default)s)")
    add("--dry-run", action="store_true", help="measure and show the plan with its times; keep no files")
    add("--json", action="store_true", help="print JSON instead of the table")
    add_on(parser, "as many as the local command has")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.cli.main import executor_for
    from srkd.compression import flow, page
    from srkd.compression.request import Budget, Request
    from srkd.errors import PartialFailure
    from srkd.report import tables
    from srkd.values import seconds, size_named

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
        args.imitate,
        args.like,
        args.network,
    )
    show = tables.as_json if args.json else tables.text
    if args.dry_run:
        print(show(flow.dry_run(request), flow.PLAN_COLUMNS))
        return 0
    with executor_for(args) as executor:
        done = flow.compress(request, Path(args.output), executor=executor)
    print(show(done.rows, page.columns(done.rows)))
    if not args.json:
        print(f"\n{page.summary(done.results)}\n{done.folder / 'report.html'}: the report")
    if not done.within_budget:
        raise PartialFailure(f"the student exceeds its budget: {done.results['missed']}")
    return 0

"""PSNR, SSIM and other metrics of models on data sets, per image and mean.

A model is a zoo name, a checkpoint file, or `bicubic`. A data set is a folder of HR images (LR is generated
by the protocol), HR:LR folders of pairs, or the name of a manifest. Writes results.json, results.md and report.html.

With --against published, each network is compared with those of `models/published.yml` with next fewer and next
more parameters and multiply-adds.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from typing import Any

from srkd.cli.main import add_trust


class _ListMetrics(argparse.Action):
    """Prints the table of metrics and exits, like --help."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str | None = None) -> None:
        super().__init__(option_strings, dest, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *args: Any) -> None:
        from srkd.metrics import registry

        for name in registry.names():
            print(f"{name}\n{textwrap.indent(registry.describe(name), '    ')}\n")
        parser.exit()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", nargs="+", required=True, metavar="M", help="zoo name, checkpoint, or bicubic")
    parser.add_argument(
        "--data", nargs="+", required=True, metavar="D", help="HR folder, HR:LR folders, or a set's name"
    )
    parser.add_argument(
        "--scale", type=int, help="required only if all models are bicubic; otherwise taken from the models"
    )
    parser.add_argument("--self-ensemble", action="store_true", help="average over the 8 flips and rotations")
    parser.add_argument(
        "--metrics",
        nargs="+",
        default=["psnr", "ssim"],
        metavar="S",
        help="names of metrics, see --list-metrics; default psnr ssim",
    )
    parser.add_argument("--list-metrics", action=_ListMetrics, help="print all metrics and what they need")
    parser.add_argument(
        "--against",
        choices=["published"],
        help="also compare with published networks of the same scale and similar size",
    )
    parser.add_argument("--output", metavar="DIR", help="folder for results.json, results.md, report.html")
    parser.add_argument("--json", action="store_true", help="print results.json instead of the table")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.files.names import check_folder
    from srkd.metrics import against
    from srkd.metrics.evaluation import count, evaluate, open_models, table
    from srkd.metrics.registry import check
    from srkd.report import tables
    from srkd.sr import report
    from srkd.training.log import Progress
    from srkd.training.malloc import keep_freed_memory

    keep_freed_memory()
    if args.output:  # before hours of evaluation
        check_folder(Path(args.output))
    check(args.metrics)
    models, details = open_models(args.model, args.scale), report.Details()  # before data sets are downloaded
    with Progress("evaluating", count(models, args.data)) as progress:
        say = progress.update
        results = evaluate(
            models, args.data, args.scale, args.self_ensemble, say, args.metrics, details, args.against is not None
        )
    rows, columns = table(results)
    try:
        if args.output:
            report.write(Path(args.output), results, details)
    finally:  # scores are not lost if the folder cannot be written to
        texts = [tables.text(part, columns) for part in tables.by_protocol(rows)]
        print(tables.results_json(results) if args.json else "\n\n".join(texts))
        if args.against and not args.json:
            print(f"\n{against.title(results)}:\n\n{tables.text(*against.table(results))}")
    return 0

"""Train or distil a network as described by a recipe.

Writes experiments/<name>/: the resolved recipe, checkpoints, metrics.jsonl, a TensorBoard log, validation images
and, at the end, report.html.
Uses a GPU if one is available; several processes with torchrun (torchrun --nproc_per_node 2 tools/train.py -opt ...).
"""

from __future__ import annotations

import argparse
import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from srkd.training.run import Run


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-opt", "--opt", metavar="RECIPE", help="the recipe, a YAML file")
    parser.add_argument(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="override keys of the recipe, e.g. train.total_iter=100",
    )
    parser.add_argument("--auto_resume", action="store_true", help="resume from the newest training state, if any")
    parser.add_argument("--seed", type=int, help="override manual_seed")
    parser.add_argument("--output", default="experiments", help="folder of the runs (default: %(default)s)")
    parser.add_argument("--budget", metavar="TIME", help="stop after this time, state saved: 90s, 9m, 2h")
    parser.add_argument("--dry-run", action="store_true", help="check every name, shape and path without training")
    parser.add_argument("--list-losses", action="store_true", help="print all losses: formula, shapes, cost, source")
    parser.add_argument("--list-networks", action="store_true", help="print the networks that a recipe may use")
    parser.add_argument(
        "--launcher",
        choices=["none", "pytorch", "slurm"],
        default="none",
        help="accepted for compatibility with BasicSR; detected automatically",
    )


def run(args: argparse.Namespace) -> int:
    from srkd.errors import SrkdError

    if args.list_losses or args.list_networks:
        _print_lists(args.list_losses, args.list_networks)
        return 0
    if args.opt is None:
        raise SrkdError("train needs -opt RECIPE, a YAML file")
    from srkd.cli.main import stopped
    from srkd.files.atomic import printable_path
    from srkd.training.processes import say
    from srkd.training.recipe import override, read
    from srkd.training.run import Run
    from srkd.values import seconds

    seed = [] if args.seed is None else [f"manual_seed={args.seed}"]
    data = override(read(args.opt), [*args.set, *seed])
    budget = None if args.budget is None else seconds(args.budget)
    training = Run(data, args.output, resume=args.auto_resume, budget=budget, origin=printable_path(args.opt))
    if args.dry_run:
        training.dry_run()
        for notice in dict.fromkeys(training.notices):
            say(f"notice: {notice}")
        say(f"{args.opt}: {len(training.stages)} stage(s) checked, nothing was trained or written")
        return 0
    result = training.train()
    if not result["finished"]:
        return stopped(result["signal"])
    for name, path in result["models"].items():
        say(f"{name}: {path}")
    if best := result.get("best"):
        say(f"best: {best['score']} {best['value']:.4f} at step {best['step']}: {', '.join(best['models'].values())}")
    _report(training, result)
    return 0


def _report(training: Run, result: dict[str, Any]) -> None:
    """Write the run's report in the first process; a failure is only a notice."""
    from srkd.errors import SrkdError
    from srkd.training import report
    from srkd.training.processes import is_leader, say

    if is_leader():
        try:
            say(f"report: {report.write(training, result)}")
        except SrkdError as error:
            say(f"notice: no report: {error}")


def _print_lists(show_losses: bool, show_networks: bool) -> None:
    from srkd import losses, networks

    if show_losses:
        for name in losses.names():
            options = ", ".join(str(p) for p in losses.options(name).values())
            print(f"{name}({options})\n{textwrap.indent(losses.describe(name), '    ')}\n")
    if show_networks:
        from srkd.integrations import basicsr

        print("srkd:", ", ".join(networks.names()))
        print("BasicSR:", ", ".join(basicsr.network_names()) if basicsr.available() else "not installed")
        print("any other: {type: package.module:Class}, {file: checkpoint}, {zoo: name}")

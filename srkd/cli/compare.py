"""Compare variants of a recipe with their control: several seeds, paired statistics, a verdict by rule.

Writes experiments/<study>/: a folder and a result for each run, and results.json, results.md, report.html. Finished
runs are skipped, interrupted ones resumed. The exit code is 2 if some runs failed.

With --results FILE a study continues on another machine: runs that FILE, a results.json, records as finished are not
trained again, and FILE is rewritten with all finished runs, with its tables next to it. Checkpoints are not needed.

With --judge, STUDY is a results.json or a folder with such files at any depth. Their statistics are computed again from
the recorded runs, results.json and results.md are rewritten, and changed verdicts are printed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from srkd.cli.main import add_jobs, add_on
from srkd.errors import SrkdError

_OF_JUDGING = ("study", "judge", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", metavar="STUDY", help="the study, a YAML file; with --judge: its results")
    parser.add_argument("--shard", default="1/1", metavar="I/N", help="only every Nth run, from the Ith (1 to N)")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="train only these variants (default: all)")
    parser.add_argument("--output", default="experiments", help="folder of studies (default: %(default)s)")
    parser.add_argument(
        "--results", metavar="FILE", help="results.json of this study: its runs are kept, and it is rewritten"
    )
    parser.add_argument("--budget", metavar="TIME", help="stop after this time, state saved: 90s, 9m, 2h")
    parser.add_argument("--json", action="store_true", help="print results.json instead of the tables")
    parser.add_argument("--dry-run", action="store_true", help="check all variants without training")
    parser.add_argument(
        "--judge", action="store_true", help="compute the verdicts of existing results again; nothing is trained"
    )
    add_jobs(parser)
    add_on(parser, "as many as the local command has")


def run(args: argparse.Namespace) -> int:
    from srkd.cli.main import executor_for, stopped
    from srkd.report import tables
    from srkd.studies import plan, results
    from srkd.studies.runs import Comparison
    from srkd.studies.statistics import MIN_SEEDS, too_few
    from srkd.training.processes import say
    from srkd.values import seconds, shard

    if args.judge:
        return _judge(args)
    part = shard(args.shard)
    budget = None if args.budget is None else seconds(args.budget)
    recorded = None if args.results is None else Path(args.results)
    study = Comparison(plan.read(args.study), args.output, recorded)
    study.check()
    if few := too_few(len(study.study.seeds)):
        say(f"{args.study}: {few} (at least {MIN_SEEDS} are needed)")
    runs = study.runs(part, args.variants)
    if args.dry_run:
        say(f"{args.study}: {len(runs)} runs checked, nothing was trained or written")
        return 0
    try:
        with executor_for(args) as executor:
            done = study.train(part, budget, executor=executor, variants=args.variants)
    finally:  # after an interruption too
        found = results.write(study, recorded)
    print(tables.results_json(found) if args.json else results.text(study.folder, found))
    if not done:
        return stopped(study.signal)
    return 2 if found["failed"] else 0


def _judge(args: argparse.Namespace) -> int:
    from srkd.report import tables
    from srkd.studies import rejudge
    from srkd.training.processes import say

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = vars(parser.parse_args(["--", args.study]))
    given = [name for name, value in defaults.items() if name not in _OF_JUDGING and getattr(args, name) != value]
    if given:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise SrkdError(f"--judge rewrites recorded results and trains nothing: leave out {options}")
    files = rejudge.results_files(Path(args.study))
    changed = [row for path in files for row in rejudge.rejudge(path)]
    if args.json:
        print(tables.results_json(changed))
    elif changed:
        print(tables.text(changed, [column for column in rejudge.COLUMNS if any(column in row for row in changed)]))
    say(f"{len(files)} results files judged again, {len(changed)} verdicts changed")
    return 0

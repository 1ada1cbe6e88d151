"""The model zoo: list models, train the next slice of a model, measure models and update their cards."""

from __future__ import annotations

import argparse

from srkd.cli.main import add_jobs, add_on


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    list_ = actions.add_parser("list", help="list all models, trained or not")
    train = actions.add_parser("train", help="train the next slice of models")
    train.add_argument("names", nargs="+", metavar="name", help="the models")
    train.add_argument("--budget", metavar="TIME", help="stop after this time, state saved: 90s, 9m, 2h")
    train.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="override the recipe")
    add_jobs(train)
    add_on(train, "as many as the local command has")
    verify = actions.add_parser("verify", help="measure trained models, update metrics.json and cards")
    verify.add_argument("names", nargs="+", metavar="name", help="the models")
    verify.add_argument("--data", nargs="+", default=[], metavar="D", help="HR folders of the evaluation sets")
    for parser_ in (list_, verify):
        parser_.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(args: argparse.Namespace) -> int:
    from srkd.cli.main import executor_for, stopped
    from srkd.commands import zoo
    from srkd.report import tables
    from srkd.values import seconds

    columns = ["model", "scale", "status", "parameters", "Set5", "B100"]
    if args.action == "train":
        budget = None if args.budget is None else seconds(args.budget)
        with executor_for(args) as executor:
            results = zoo.train_all(args.names, args.set, budget, executor)
        return stopped(max((result["signal"] for result in results), default=0))
    if args.action == "verify":
        for name in dict.fromkeys(args.names):
            zoo.verify(name, args.data)
    print((tables.as_json if args.json else tables.text)(zoo.listing(), columns))
    return 0

"""Prune a trained network: channels of its convolutions, and whole residual blocks.

The result is an ordinary checkpoint. Fine-tune it to recover its quality, preferably with the unpruned network as
teacher: in a recipe, `network_g: {file: OUT}`.
"""

from __future__ import annotations

import argparse

from srkd.cli.main import add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("model", metavar="MODEL", help="zoo name or checkpoint of a convolutional network")
    add("-o", "--output", required=True, metavar="OUT", help="the pruned checkpoint, .safetensors")
    add(
        "--keep",
        type=float,
        default=1.0,
        metavar="F",
        help="share of channels within blocks to keep (default: all)",
    )
    add("--blocks", type=float, default=1.0, metavar="F", help="share of residual blocks to keep (default: all)")
    add("--features", type=float, default=1.0, metavar="F", help="share of the other channels to keep (default: all)")
    add_trust(parser)


def run(args: argparse.Namespace) -> int:
    from pathlib import Path

    from srkd.errors import SrkdError
    from srkd.inference.prune import prune_file

    if args.keep == args.blocks == args.features == 1:
        raise SrkdError("nothing to prune: give --keep, --blocks or --features, shares below 1")
    print(prune_file(args.model, Path(args.output), args.keep, args.blocks, args.features))
    return 0

"""Parsers of command-line values shared by several commands."""

from __future__ import annotations

import argparse
import re

from srkd.errors import SrkdError


def seconds(text: str) -> float:
    """Seconds of a duration such as 90s, 9m, 1.5h or a plain number of seconds.

        >>> seconds("1.5h")
        5400.0

    Raises:
        SrkdError: not a duration.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if match is None:
        raise SrkdError(f'"{text}" is not a time; give 90s, 9m or 2h')
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def shard(text: str) -> tuple[int, int]:
    """Number and count of a shard such as 2/3.

        >>> shard("2/3")
        (2, 3)

    Raises:
        SrkdError: not a shard, or its number is not from 1 to the count.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise SrkdError(f'"{text}" is not a shard; give 1/3, 2/3 or 3/3')
    return int(match[1]), int(match[2])


def size_named(text: str) -> tuple[int, int]:
    """(width, height) of text such as 1280x720. Raises SrkdError for anything else."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise SrkdError(f'a size is WIDTHxHEIGHT, such as 1280x720; got "{text}"')
    return int(width), int(height)


def count(text: str) -> int:
    """An integer of at least 1, as the `type` of an argument. Raises ArgumentTypeError for anything else."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not an integer of at least 1')
    return int(text)

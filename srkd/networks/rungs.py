"""Sizes of networks by title, such as `ETDS 32x5`: the registered name, width and depth of a `Ladder`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

from srkd.errors import SrkdError, nearest
from srkd.networks import registry
from srkd.networks.base import Ladder

Size = tuple[int, int]


def split(title: str) -> tuple[str, Ladder, Size | None]:
    """The registered name, the ladder, and (width, depth) of a title, None if it is a name alone.

    Raises:
        SrkdError: a network without a ladder, or a size that is not a width and a depth.
    """
    kind, _, size = title.partition(" ")
    ladders = dict(registry.ladders())
    if kind not in ladders:
        raise SrkdError(
            f'"{kind}" is no network with sizes to try{nearest(kind, ladders)}; there are {", ".join(ladders)}'
        )
    if not size:
        return kind, ladders[kind], None
    width, _, depth = size.partition("x")
    if not (width.isdecimal() and depth.isdecimal()):
        raise SrkdError(f'"{title}": a size is a width and a depth, as in "{kind} 32x4"')
    return kind, ladders[kind], (int(width), int(depth))


def lines(titles: Sequence[str]) -> list[tuple[Ladder, list[dict[str, Any]]]]:
    """The specs of all sizes of the named networks, and of single sizes, as lines that differ only in width: by
    network in the order given, then by depth, each line from narrow to wide.

    Raises:
        SrkdError: as `split`, or a size that is not one of the ladder's; the nearest is named.
    """
    chosen: dict[str, dict[int, set[int]]] = {}
    for title in titles:
        kind, ladder, size = split(title)
        depths = chosen.setdefault(kind, {})
        if size is not None and (size[0] not in ladder.widths or size[1] not in ladder.depths):
            near = f"{kind} {_nearest(size[0], ladder.widths)}x{_nearest(size[1], ladder.depths)}"
            raise SrkdError(f'"{title}": not a size of its ladder; the nearest is "{near}"')
        for width, depth in [size] if size else itertools.product(ladder.widths, ladder.depths):
            depths.setdefault(depth, set()).add(width)
    ladders = dict(registry.ladders())
    return [
        (ladders[kind], [ladders[kind].spec(kind, width, depth) for width in sorted(widths)])
        for kind, depths in chosen.items()
        for depth, widths in sorted(depths.items())
    ]


def _nearest(value: int, known: Sequence[int]) -> int:
    """The value with the ratio nearest to 1."""
    return min(known, key=lambda each: abs(math.log(max(value, 0.5) / each)))

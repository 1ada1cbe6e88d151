"""BIO tags: other schemes brought to them, types hidden, labels numbered."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from srkd.errors import SrkdError

OUTSIDE = "O"
# BIOES and BILOU say by E or L that an entity ends, and by S or U that it is one token long.
_PREFIXES = {"B": "B", "I": "I", "E": "I", "L": "I", "S": "B", "U": "B"}


@dataclass
class Sentence:
    """Tokens and their BIO tags, as many of one as of the other."""

    tokens: list[str]
    tags: list[str]


def parse(tag: str) -> tuple[str, str]:
    """Prefix, B or I (or O), and type ("" of O) of a tag such as `B-PER`.

    Raises:
        ValueError: it is none of BIO, BIOES or BILOU.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, kind = tag.partition("-")
    if prefix not in _PREFIXES or not dash or not kind:
        raise ValueError(f'"{tag}" is no tag: expected O, or B- or I- and a type')
    return _PREFIXES[prefix], kind


def to_bio(tags: Iterable[str]) -> tuple[list[str], list[int]]:
    """The tags as BIO, and the places where an entity began with I, which is read as B.

    Raises:
        ValueError: as `parse`.
    """
    found: list[str] = []
    repaired: list[int] = []
    before = ""
    for place, tag in enumerate(tags):
        prefix, kind = parse(tag)
        if prefix == "I" and kind != before:
            prefix = "B"
            repaired.append(place)
        found.append(f"{prefix}-{kind}" if kind else OUTSIDE)
        before = kind
    return found, repaired


def only(tags: Iterable[str], types: Collection[str]) -> list[str]:
    """The tags with all types but these hidden as O."""
    return [tag if tag[2:] in types else OUTSIDE for tag in tags]


def labels(types: Iterable[str]) -> list[str]:
    """The labels of a network for these types: O, then B and I of each; further types add labels at the end."""
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI")]


def types_of(sentences: Iterable[Sentence]) -> set[str]:
    """The types that occur."""
    return {tag[2:] for sentence in sentences for tag in sentence.tags} - {""}


def check_steps(steps: Sequence[Sequence[str]]) -> None:
    """Check a sequence of steps, each a list of types.

    Raises:
        SrkdError: a step without types, or a type in two steps.
    """
    first: dict[str, int] = {}
    for number, types in enumerate(steps, 1):
        if not types:
            raise SrkdError(f"data.steps: step {number} has no types")
        for kind in types:
            if kind in first:
                where = f"twice in step {number}" if first[kind] == number else f"in steps {first[kind]} and {number}"
                raise SrkdError(f'data.steps: the type "{kind}" is {where}; a type arrives once')
            first[kind] = number

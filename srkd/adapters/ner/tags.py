"""BIO tags: conversion from other schemes, masking of types, labels of a network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from srkd.errors import SrkdError

OUTSIDE = "O"
# In BIOES and BILOU, E or L marks the last token of an entity, and S or U an entity of one token.
_PREFIXES = {"B": "B", "I": "I", "E": "I", "L": "I", "S": "B", "U": "B"}


@dataclass
class Sentence:
    """Tokens and their BIO tags, lists of equal length."""

    tokens: list[str]
    tags: list[str]


def parse(tag: str) -> tuple[str, str]:
    """Prefix (B, I or O) and type ("" for O) of a tag such as `B-PER`.

    Raises:
        ValueError: not a tag of BIO, BIOES or BILOU.
    """
    if tag == OUTSIDE:
        return OUTSIDE, ""
    prefix, dash, kind = tag.partition("-")
    if prefix not in _PREFIXES or not dash or not kind:
        raise ValueError(f'invalid tag "{tag}": expected O, or B- or I- and a type')
    return _PREFIXES[prefix], kind


def to_bio(tags: Iterable[str]) -> tuple[list[str], list[int]]:
    """The tags as BIO, and the indices of tags where an entity started with I, which is replaced by B.

    Raises:
        ValueError: as `parse`.
    """
    found: list[str] = []
    repaired: list[int] = []
    previous = ""
    for index, tag in enumerate(tags):
        prefix, kind = parse(tag)
        if prefix == "I" and kind != previous:
            prefix = "B"
            repaired.append(index)
        found.append(f"{prefix}-{kind}" if kind else OUTSIDE)
        previous = kind
    return found, repaired


def only(tags: Iterable[str], types: Collection[str]) -> list[str]:
    """The tags with all types except these replaced by O."""
    return [tag if tag[2:] in types else OUTSIDE for tag in tags]


def labels(types: Iterable[str]) -> list[str]:
    """Output labels of a network for these types: O, then B and I of each type in order."""
    return [OUTSIDE, *(f"{prefix}-{kind}" for kind in types for prefix in "BI")]


def types_of(sentences: Iterable[Sentence]) -> set[str]:
    """The types that occur in the sentences."""
    return {tag[2:] for sentence in sentences for tag in sentence.tags} - {""}


def check_steps(steps: Sequence[Sequence[str]]) -> None:
    """Check a sequence of steps, each a list of types.

    Raises:
        SrkdError: a step without types, or a type that occurs twice.
    """
    first: dict[str, int] = {}
    for number, types in enumerate(steps, 1):
        if not types:
            raise SrkdError(f"data.steps: step {number} has no types")
        for kind in types:
            if kind in first:
                where = f"twice in step {number}" if first[kind] == number else f"in steps {first[kind]} and {number}"
                raise SrkdError(f'data.steps: the type "{kind}" is {where}; list each type once')
            first[kind] = number

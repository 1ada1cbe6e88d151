"""Tokens as ids: the id of the word, and the ids of its characters or jamo."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError, unknown

Ids = NDArray[np.int32]
PADDING, RARE = 0, 1  # ids of padding, and of rare words and pieces
_LONGEST = {"characters": 8, "jamo": 16}  # pieces per token; the rest is truncated


class Encoding(Protocol):
    """Maps the tokens of a sentence to ids."""

    def encode(self, tokens: Sequence[str]) -> Ids:
        """Ids (tokens, 1 + longest), int32: in each row the id of the word, the ids of its pieces, and padding."""
        ...

    def describe(self) -> dict[str, Any]:
        """Metadata that a checkpoint must store so that its network can be used again."""
        ...


def _jamo(token: str) -> str:
    """Decompose Hangul syllables into jamo; other characters are NFD-normalised."""
    return unicodedata.normalize("NFD", token)


SPLIT: dict[str, Callable[[str], str]] = {"characters": str, "jamo": _jamo}


class Vocabulary:
    """Words and pieces in the order of their ids; see `collect`.

    Args:
        pieces: `characters` or `jamo`.
    """

    def __init__(self, pieces: str, words: Sequence[str], letters: Sequence[str]) -> None:
        self.pieces, self.words, self.letters = pieces, list(words), list(letters)
        self._word = {word: n for n, word in enumerate(self.words, RARE + 1)}
        self._letter = {letter: n for n, letter in enumerate(self.letters, RARE + 1)}

    @property
    def sizes(self) -> tuple[int, int]:
        """Number of ids of words and of pieces, padding and rare included."""
        return len(self.words) + 2, len(self.letters) + 2

    def encode(self, tokens: Sequence[str]) -> Ids:
        longest, split = _LONGEST[self.pieces], SPLIT[self.pieces]
        ids = np.full((len(tokens), 1 + longest), PADDING, np.int32)
        for row, token in zip(ids, tokens, strict=True):
            letters = split(token)[:longest]
            row[0] = self._word.get(token, RARE)
            row[1 : 1 + len(letters)] = [self._letter.get(letter, RARE) for letter in letters]
        return ids

    def describe(self) -> dict[str, Any]:
        return {"pieces": self.pieces, "words": self.words, "letters": self.letters}


def collect(sentences: Iterable[Sequence[str]], pieces: str, least: int = 2) -> Vocabulary:
    """Vocabulary of sentences: words and pieces that occur at least `least` times, most frequent first.

    Raises:
        SrkdError: unknown kind of pieces.
    """
    if pieces not in SPLIT:
        raise SrkdError(f"data.pieces: {unknown('kind of pieces or folder', pieces, SPLIT)}")
    words, letters = Counter[str](), Counter[str]()
    for tokens in sentences:
        words.update(tokens)
    for word, count in words.items():
        for letter in SPLIT[pieces](word):
            letters[letter] += count
    return Vocabulary(pieces, *(_frequent(counts, least) for counts in (words, letters)))


def _frequent(counts: Counter[str], least: int) -> list[str]:
    return sorted((item for item, count in counts.items() if count >= least), key=lambda item: (-counts[item], item))

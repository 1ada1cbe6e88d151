"""Tokenisers with a vocabulary learned from the training documents: words and sub-words."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from srkd.adapters.text import subwords

PADDING, UNKNOWN = 0, 1
Ids = NDArray[np.int64]

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without white space and punctuation."""
    return _WORD.findall(text.lower())


class Tokeniser(ABC):
    """Maps texts to ids: 0 is padding, 1 is a token that is not in the vocabulary."""

    vocabulary: list[str]

    @abstractmethod
    def __call__(self, text: str, length: int) -> Ids:
        """Ids (tokens), int64, of the first `length` tokens; a text without tokens gives one unknown token."""

    def _ids(self, tokens: Sequence[str]) -> Ids:
        return np.array([self._number.get(token, UNKNOWN) for token in tokens] or [UNKNOWN], np.int64)

    def _keep(self, tokens: Iterable[str]) -> None:
        self.vocabulary = ["<padding>", "<unknown>", *tokens]
        self._number = {token: number for number, token in enumerate(self.vocabulary)}


class Words(Tokeniser):
    """The `size` most frequent words that occur in at least two of the texts."""

    def __init__(self, texts: Iterable[str], size: int) -> None:
        found = Counter(chain.from_iterable(set(words(text)) for text in texts))
        often = sorted((word for word, count in found.items() if count > 1), key=lambda word: (-found[word], word))
        self._keep(often[: size - 2])

    def __call__(self, text: str, length: int) -> Ids:
        return self._ids(words(text)[:length])


class Subwords(Tokeniser):
    """Byte-pair encoding of the words, `size` symbols in total; see `subwords`."""

    def __init__(self, texts: Iterable[str], size: int) -> None:
        found = Counter(chain.from_iterable(map(words, texts)))
        merges = subwords.learn(found, size - 2)
        alphabet = {symbol for word, count in found.items() if count > 1 for symbol in word} | {subwords.END}
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        self._known: dict[str, list[str]] = {}
        self._keep([*sorted(alphabet), *dict.fromkeys("".join(pair) for pair in merges)])

    def __call__(self, text: str, length: int) -> Ids:
        return self._ids([symbol for word in words(text)[:length] for symbol in self._split(word)][:length])

    def _split(self, word: str) -> list[str]:
        if word not in self._known:
            self._known[word] = subwords.split(word, self._ranks)
        return self._known[word]


KINDS: dict[str, Callable[[Iterable[str], int], Tokeniser]] = {"words": Words, "subwords": Subwords}

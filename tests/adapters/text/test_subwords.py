"""Byte-pair encoding: order of merges, ties, and splits of words."""

from collections import Counter
from itertools import pairwise

import pytest

from srkd.adapters.text import subwords
from srkd.adapters.text.subwords import END

WORDS = {"low": 5, "lower": 2, "newest": 6, "widest": 3, "once": 1}


def slowly(words: dict[str, int], size: int) -> list[tuple[str, str]]:
    """Reference implementation: count all pairs again for each merge."""
    corpus = {(*word, END): count for word, count in words.items() if count > 1}
    merges: list[tuple[str, str]] = []
    while len(merges) < size - len({symbol for word in words if words[word] > 1 for symbol in (*word, END)}):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, count in corpus.items():
            for pair in pairwise(word):
                pairs[pair] += count
        best = min(pairs, key=lambda pair: (-pairs[pair], pair), default=None)
        if best is None or pairs[best] < 2:
            break
        merges.append(best)
        corpus = {_merged(word, best): count for word, count in corpus.items()}
    return merges


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    if len(word) < 2:
        return word
    if word[:2] == pair:
        return (word[0] + word[1], *_merged(word[2:], pair))
    return (word[0], *_merged(word[1:], pair))


@pytest.mark.parametrize("size", [12, 18, 100])
def test_merges_equal_the_reference(size: int) -> None:
    assert subwords.learn(WORDS, size) == slowly(WORDS, size)


def test_repeated_letters_are_counted_correctly() -> None:
    words = {"aaaa": 4, "aaa": 3, "baab": 2, "mississippi": 2}
    assert subwords.learn(words, 30) == slowly(words, 30)


def test_words_are_split_by_the_merges_in_their_order() -> None:
    ranks = {pair: rank for rank, pair in enumerate(subwords.learn(WORDS, 100))}
    assert subwords.split("newest", ranks) == ["newest" + END]
    assert subwords.split("lowest", ranks)[0] == "low"
    assert subwords.split("xyz", ranks) == ["x", "y", "z", END]
    for word in ("lowest", "widenewer"):
        assert "".join(subwords.split(word, ranks)) == word + END

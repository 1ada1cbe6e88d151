"""Byte-pair encoding learned from a corpus (Sennrich et al., ACL 2016; arXiv:1508.07909)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from itertools import pairwise

END = "\u2581"  # end-of-word marker, so that "the" and the start of "theory" differ
Pair = tuple[str, str]


def learn(words: Mapping[str, int], size: int) -> list[Pair]:
    """Learn the pairs of symbols to merge, in order, until alphabet and merges together have `size` symbols.

    Ties are resolved by sort order, so that the result is deterministic.

    Args:
        words: count of each word; words that occur once are ignored.
    """
    kept = [(word, count) for word, count in sorted(words.items()) if count > 1]
    symbols, counts = [[*word, END] for word, _ in kept], [count for _, count in kept]
    pairs: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)
    for number, word in enumerate(symbols):
        for pair in pairwise(word):
            pairs[pair] += counts[number]
            places[pair].add(number)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapify(heap)
    merges: list[Pair] = []
    left = size - len({symbol for word in symbols for symbol in word})
    while heap and len(merges) < left:
        count, best = heappop(heap)
        if -count != pairs[best]:
            continue  # outdated entry: the current count is further down the heap
        if count > -2:
            break
        merges.append(best)
        changed: set[Pair] = set()
        for number in places.pop(best):
            word, joined = symbols[number], _merged(symbols[number], best)
            for sign, pieces in ((-1, word), (1, joined)):
                for pair in pairwise(pieces):
                    pairs[pair] += sign * counts[number]
                    changed.add(pair)
            for pair in pairwise(joined):
                places[pair].add(number)
            symbols[number] = joined
        for pair in changed:
            heappush(heap, (-pairs[pair], pair))
    return merges


def _merged(word: list[str], pair: Pair) -> list[str]:
    joined, place = [], 0
    while place < len(word):
        both = tuple(word[place : place + 2]) == pair
        joined.append(word[place] + word[place + 1] if both else word[place])
        place += 2 if both else 1
    return joined


def split(word: str, ranks: Mapping[Pair, int]) -> list[str]:
    """The symbols of a word after the merges; `ranks` has the position of each merge in their order."""
    symbols = [*word, END]
    while len(symbols) > 1:
        best = min(pairwise(symbols), key=lambda pair: ranks.get(pair, len(ranks)))
        if best not in ranks:
            break
        symbols = _merged(symbols, best)
    return symbols

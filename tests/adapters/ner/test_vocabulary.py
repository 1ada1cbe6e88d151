"""Ids of words and their pieces."""

from __future__ import annotations

import pytest

from srkd.adapters.ner.vocabulary import PADDING, RARE, collect
from srkd.errors import SrkdError

TOKENS = [["부산", "부산", "에"], ["에", "에", "간"]]


def test_frequent_words_come_first_and_rare_words_share_an_id() -> None:
    known = collect(TOKENS, "characters")
    assert known.words == ["에", "부산"]
    assert known.encode(["에", "부산", "간", "가"])[:, 0].tolist() == [2, 3, RARE, RARE]


def test_pieces_are_letters_of_the_word_then_padding() -> None:
    known = collect(TOKENS, "characters")
    row = known.encode(["부산"])[0]
    assert len(set(row[1:3].tolist())) == 2 and min(row[1:3]) > RARE and (row[3:] == PADDING).all()
    assert (known.encode(["부산" * 9])[0, 1:] != PADDING).all()


def test_jamo_encode_unseen_syllables() -> None:
    syllables, jamo = (collect([["각", "갂", "난"] * 2], pieces) for pieces in ("characters", "jamo"))
    assert syllables.encode(["간"])[0, 1] == RARE
    assert RARE not in jamo.encode(["간"])[0, 1:].tolist()
    assert (jamo.encode(["간"])[0, 1:4] == jamo.encode(["난"])[0, 1:4]).tolist() == [False, True, True]


def test_unknown_pieces_raise() -> None:
    with pytest.raises(SrkdError, match=r'data.pieces: unknown kind of pieces or folder "jamos" .did you mean "jamo"'):
        collect(TOKENS, "jamos")

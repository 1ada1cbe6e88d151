"""Tokenisers: vocabularies from the corpus, unknown words, empty texts."""

import numpy as np
import pytest

from srkd.adapters.text.tokens import PADDING, UNKNOWN, Subwords, Tokeniser, Words

TEXTS = ["The cat, the dog.", "A cat sat; the mat!", "dog and cat: lower lowest"]


def test_words_are_the_most_frequent_by_documents() -> None:
    tokens = Words(TEXTS, 5)
    assert tokens.vocabulary == ["<padding>", "<unknown>", "cat", "dog", "the"]
    assert tokens("THE new cat", 10).tolist() == [4, UNKNOWN, 2]
    assert tokens("THE new cat", 2).tolist() == [4, UNKNOWN]


def test_a_word_of_one_document_is_unknown() -> None:
    assert "mat" not in Words(TEXTS, 100).vocabulary


def test_subwords_spell_unknown_words() -> None:
    tokens = Subwords([*TEXTS, *TEXTS], 60)
    ids = tokens("lowcat", 10)
    assert UNKNOWN not in ids and "".join(tokens.vocabulary[i] for i in ids) == "lowcat\u2581"
    assert len(tokens.vocabulary) <= 60 and len(set(tokens.vocabulary)) == len(tokens.vocabulary)
    assert tokens("\u00e9", 10).tolist()[0] == UNKNOWN
    assert len(tokens("tac tac", 3)) == 3


@pytest.mark.parametrize("tokens", [Words(TEXTS, 9), Subwords(TEXTS * 2, 30)])
def test_an_empty_text_is_one_unknown_token(tokens: Tokeniser) -> None:
    for text in ("", " \n", "?!"):
        ids = tokens(text, 5)
        assert ids.tolist() == [UNKNOWN] and ids.dtype == np.int64
    assert PADDING not in tokens("cat dog", 5)

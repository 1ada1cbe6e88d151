"""A corpus: nested shares, held-out documents, families."""

from pathlib import Path

import numpy as np
import pytest

from srkd.adapters.text import corpus
from srkd.adapters.text.recipe import TextData
from srkd.errors import SrkdError


def read(documents: Path, **options: object) -> corpus.Corpus:
    tokens = {"size": 60, "length": 12}
    return corpus.read(documents, TextData.model_validate({"root": str(documents), "tokens": tokens, **options}))


def test_shares_are_nested_and_stratified(documents: Path) -> None:
    whole, half, tenth = (read(documents, share=share) for share in (1.0, 0.5, 0.1))
    assert (len(whole.train.labels), len(half.train.labels), len(tenth.train.labels)) == (120, 60, 12)
    assert np.bincount(half.train.labels).tolist() == [10] * 6 and np.bincount(tenth.train.labels).tolist() == [2] * 6
    for small, large in ((half, whole), (tenth, half)):
        pairs = zip(small.train.documents, large.train.documents, strict=False)
        assert all(np.array_equal(a, b) for a, b in pairs)
        assert small.vocabulary == large.vocabulary and len(small.everything.documents) == 120


def test_held_out_documents_are_scored_and_not_trained_on(documents: Path) -> None:
    plain, tuned = read(documents), read(documents, held_out=30)
    assert (len(tuned.train.labels), len(tuned.scored.labels)) == (90, 30)
    assert np.bincount(tuned.scored.labels).tolist() == [5] * 6
    assert len(plain.scored.labels) == 60 and plain.empty == 1
    with pytest.raises(SrkdError, match="120 training documents with text, 120 of which are held out"):
        read(documents, held_out=120)


def test_families_from_hierarchy_clusters_or_none(documents: Path) -> None:
    given = read(documents, hierarchy=str(documents.parent / "hierarchy.csv"))
    assert given.classes == ["baseball", "mac", "mars", "moon", "pc", "soccer"]
    assert given.family_names == ["comp", "space", "sport"] and given.families == [2, 0, 1, 1, 0, 2]
    found = read(documents, clusters=3)
    assert found.family_names == ["baseball+soccer", "mac+pc", "mars+moon"] and found.families == [0, 1, 2, 2, 1, 0]
    assert read(documents).families == []


def test_clusters_need_every_class(documents: Path) -> None:
    with pytest.raises(SrkdError, match="has none"):
        read(documents, clusters=3, share=0.02)

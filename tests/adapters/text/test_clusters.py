"""Families of classes by clustering."""

import pytest

from srkd.adapters.text import clusters
from srkd.errors import SrkdError

TEXTS = ["ball goal team", "goal ball match", "team bat ball", "disk file bus", "file disk driver", "bus file ram"]
LABELS = ["soccer", "soccer", "baseball", "mac", "pc", "pc"]


def test_classes_with_similar_words_form_a_family() -> None:
    found = clusters.families(TEXTS, LABELS, 2)
    assert found == {"baseball": "baseball+soccer", "mac": "mac+pc", "pc": "mac+pc", "soccer": "baseball+soccer"}
    assert set(clusters.families(TEXTS[::-1], LABELS[::-1], 2).items()) == set(found.items())
    assert len(set(clusters.families(TEXTS, LABELS, 4).values())) == 4


def test_impossible_clusters_raise() -> None:
    with pytest.raises(SrkdError, match="cannot form 5 families of 4 classes"):
        clusters.families(TEXTS, LABELS, 5)
    with pytest.raises(SrkdError, match="have no words to cluster by"):
        clusters.families(["", "?"], ["a", "b"], 1)

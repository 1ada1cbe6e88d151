"""Families of classes by their words."""

import pytest

from srkd.adapters.text import clusters
from srkd.errors import SrkdError

TEXTS = ["ball goal team", "goal ball match", "team bat ball", "disk file bus", "file disk driver", "bus file ram"]
LABELS = ["soccer", "soccer", "baseball", "mac", "pc", "pc"]


def test_classes_of_like_words_are_a_family() -> None:
    found = clusters.families(TEXTS, LABELS, 2)
    assert found == {"baseball": "baseball+soccer", "mac": "mac+pc", "pc": "mac+pc", "soccer": "baseball+soccer"}
    assert set(clusters.families(TEXTS[::-1], LABELS[::-1], 2).items()) == set(found.items())
    assert len(set(clusters.families(TEXTS, LABELS, 4).values())) == 4


def test_impossible_clusters_are_refused() -> None:
    with pytest.raises(SrkdError, match="5 families of 4 classes cannot be made"):
        clusters.families(TEXTS, LABELS, 5)
    with pytest.raises(SrkdError, match="hold no words"):
        clusters.families(["", "?"], ["a", "b"], 1)

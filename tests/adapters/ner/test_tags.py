"""Masking of types, labels, and invalid sequences of steps."""

from __future__ import annotations

import pytest

from srkd.adapters.ner.tags import check_steps, labels, only
from srkd.errors import SrkdError


def test_masked_types_become_o() -> None:
    assert only(["B-PER", "I-PER", "O", "B-LOC"], ["LOC"]) == ["O", "O", "O", "B-LOC"]


def test_more_types_add_labels_at_the_end() -> None:
    assert labels(["PER"]) == ["O", "B-PER", "I-PER"]
    assert labels(["PER", "LOC"])[:3] == labels(["PER"])


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([["PER"], ["LOC", "PER"]], 'the type "PER" is in steps 1 and 2'),
        ([["PER", "PER"]], 'the type "PER" is twice in step 1'),
        ([["PER"], []], "step 2 has no types"),
    ],
)
def test_invalid_steps_raise(steps: list[list[str]], message: str) -> None:
    with pytest.raises(SrkdError, match=message):
        check_steps(steps)

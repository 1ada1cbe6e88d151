"""Saved encoders: missing packages and folders, and the number of tokens that a network has positions for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from torch import nn

from srkd.errors import SrkdError
from srkd.integrations.transformers import load, longest_input


def test_missing_transformers_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SrkdError, match=r"^encoder: needs transformers: pip install 'srkd\[encoders\]'$"):
        load("AutoTokenizer", "encoder")


def test_an_empty_folder_raises(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="transformers, an extra, is not installed")
    with pytest.raises(SrkdError, match=r"cannot load AutoModel .*: give the folder of a saved model$") as error:
        load("AutoModel", str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("positions", "longest"),
    [
        (nn.Embedding(512, 2), 512),  # BERT
        (nn.Embedding(514, 2, padding_idx=1), 512),  # RoBERTa: the first token's position is 2
    ],
)
def test_positions_limit_the_number_of_tokens(positions: nn.Embedding, longest: int) -> None:
    embeddings = nn.ModuleDict({"word_embeddings": nn.Embedding(9, 2), "position_embeddings": positions})
    assert longest_input(nn.ModuleDict({"embeddings": embeddings})) == longest
    assert longest_input(nn.Linear(2, 2)) is None

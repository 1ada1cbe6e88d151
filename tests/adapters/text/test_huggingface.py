"""Hugging Face encoders from a folder: a tiny one with random weights, and errors."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from srkd.adapters.text import networks
from srkd.adapters.text.huggingface import PretrainedTokeniser
from srkd.errors import SrkdError
from srkd.integrations.torchvision_compat import import_torchvision
from srkd.training.recipe import merge
from srkd.training.run import Run


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 16 features with a vocabulary of six words, saved as transformers saves models."""
    transformers: Any = pytest.importorskip("transformers", reason="transformers, an extra, is not installed")
    import_torchvision()  # before transformers imports it
    folder = tmp_path_factory.mktemp("bert")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "mars0", "mars1", "moon0", "moon1", "pc0", "pc1"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return folder


def test_a_saved_encoder_trains_with_its_tokeniser(saved: Path, recipe: dict[str, Any], tmp_path: Path) -> None:
    tokens = {"tokens": {"type": "huggingface", "path": str(saved), "length": 12}}
    network = {"type": "HuggingFace", "path": str(saved)}
    own = {**recipe, "network": network, "data": {**recipe["data"], **tokens}}
    result = Run(merge(own, {"train": {"total_iter": 2}}), tmp_path, quiet=True).train()
    assert result["finished"] and result["metrics"]["accuracy"] > 0


def test_a_teacher_reads_the_folder_of_the_recipe(saved: Path, recipe: dict[str, Any], tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(saved, moved)
    runs = []
    for place in (moved, saved):
        tokens = {"tokens": {"type": "huggingface", "path": str(place), "length": 12}}
        own = {**recipe, "network": {"type": "HuggingFace", "path": str(place)}, "data": {**recipe["data"], **tokens}}
        if runs:
            shutil.rmtree(moved)
            own["network_teacher"] = {"file": runs[0]["models"]["net"]}
            own["train"] = {**own["train"], "losses": [{"type": "kd", "weight": 1.0}]}
        runs.append(Run(merge(own, {"train": {"total_iter": 1}}), tmp_path / f"run_{len(runs)}", quiet=True).train())
    assert runs[1]["finished"]


def test_ids_are_shifted_by_one(saved: Path) -> None:
    tokens = PretrainedTokeniser(str(saved))
    ids = tokens("mars0 pc1", 10)
    assert [tokens.vocabulary[i] for i in ids] == ["[CLS]", "mars0", "pc1", "[SEP]"]
    assert len(tokens("mars0 " * 20, 10)) == 10 and len(tokens("", 10)) > 0


def test_output_does_not_depend_on_padding(saved: Path) -> None:
    network = networks.build({"type": "HuggingFace", "path": str(saved)}, 3, 12, 16).eval()
    short = torch.tensor([[3, 6, 7, 4]])
    assert torch.allclose(network(short), network(torch.tensor([[3, 6, 7, 4, 0, 0]])), atol=1e-5)


def test_documents_that_are_too_long_raise(saved: Path) -> None:
    with pytest.raises(SrkdError, match=r"accepts 16 tokens, not 17: set data.tokens.length=16 or lower"):
        networks.build({"type": "HuggingFace", "path": str(saved)}, 3, 12, 17)


def test_unreadable_folders_raise(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=r"needs transformers: pip|cannot load AutoModel") as error:
        networks.build({"type": "HuggingFace", "path": str(tmp_path)}, 3, 12, 16)
    assert "\n" not in str(error.value)

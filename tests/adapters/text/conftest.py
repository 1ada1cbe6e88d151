"""Synthetic documents of six classes in three families, and a recipe for them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from srkd.adapters.text import corpus, sentences

FAMILIES = {"baseball": "sport", "soccer": "sport", "mac": "comp", "pc": "comp", "moon": "space", "mars": "space"}


def write_documents(folder: Path) -> Path:
    """documents.csv with 120 + 60 documents and an empty one, and hierarchy.csv beside it.

    A document has words of its class, of its family, and common ones.
    """
    random = np.random.default_rng(0)
    path = folder / "documents.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label", "split"])
        for split, count in (("train", 20), ("test", 10)):
            for name, family in FAMILIES.items():
                for _ in range(count):
                    kinds = random.choice([name, family, "common"], size=random.integers(6, 14), p=[0.3, 0.3, 0.4])
                    rows.writerow([" ".join(f"{kind}{random.integers(6)}" for kind in kinds), name, split])
        rows.writerow([" ", "mars", "train"])
    (folder / "hierarchy.csv").write_text("\n".join(map(",".join, FAMILIES.items())), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_documents(tmp_path_factory.mktemp("documents"))


class FakeEncoder:
    """Embeds a text as the counts of the classes' names in it, which a linear head separates."""

    def encode(self, texts: list[str]) -> np.ndarray:
        names = [*FAMILIES, *set(FAMILIES.values())]
        counts = np.array([[text.count(name) for name in sorted(names)] for text in texts], np.float32)
        return counts / np.maximum(np.linalg.norm(counts, axis=1, keepdims=True), 1)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A sentence encoder in place of the pretrained one, and a cache of its own."""
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sentences, "_load", FakeEncoder)
    monkeypatch.setattr(sentences, "identity", lambda: "fake 1")
    corpus._read.cache_clear()


@pytest.fixture(scope="session")
def recipe(documents: Path) -> dict[str, Any]:
    """A recipe that trains a tiny network in a second."""
    return {
        "name": "tiny",
        "task": "text",
        "network": {"type": "Bag", "dim": 16},
        "batch_size": 24,
        "data": {
            "root": str(documents),
            "hierarchy": str(documents.parent / "hierarchy.csv"),
            "tokens": {"size": 60, "length": 12},
        },
        "train": {
            "total_iter": 30,
            "optim": {"type": "AdamW", "lr": 0.03},
            "losses": [{"type": "CrossEntropyLoss"}],
            "precision": "fp32",
        },
        "logger": {"print_freq": 100, "use_tb_logger": False},
    }

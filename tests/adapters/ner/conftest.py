"""A synthetic corpus and a recipe with two steps for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from support_sentences import write_kmou


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kmou")
    write_kmou(folder, "train", 120, 0)
    write_kmou(folder, "test", 40, 1)
    return folder


@pytest.fixture
def recipe(corpus: Path) -> dict[str, Any]:
    """PER and LOC, then DAT and TIM, by fine-tuning."""
    return {
        "name": "tiny",
        "task": "ner",
        "batch_size": 12,
        "network": {"type": "BiLSTM", "width": 16, "embedding": 16, "dropout": 0.0},
        "data": {
            "format": "kmou",
            "train": str(corpus / "train.words.txt"),
            "test": str(corpus / "test.words.txt"),
            "steps": [["PER", "LOC"], ["DAT", "TIM"]],
        },
        "train": {
            "total_iter": 80,
            "optim": {"type": "Adam", "lr": 0.03},
            "losses": [{"type": "CrossEntropyLoss"}],
            "precision": "fp32",
        },
        "logger": {"use_tb_logger": False},
        "stages": [{"data": {"step": 1}}, {"data": {"step": 2}}],
    }

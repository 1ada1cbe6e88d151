"""A synthetic CIFAR-100 and a recipe for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from support_images import write_cifar100


@pytest.fixture(scope="session")
def cifar100(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cifar-100-python.tar.gz with 4 classes and 64 + 32 images, pickled as by Python 2."""
    path = tmp_path_factory.mktemp("cifar") / "cifar-100-python.tar.gz"
    write_cifar100(path)
    return path


@pytest.fixture
def recipe(cifar100: Path) -> dict[str, Any]:
    """A recipe that trains a tiny network in a second."""
    return {
        "name": "tiny",
        "task": "classification",
        "network": {"type": "ResNet8"},
        "batch_size": 16,
        "data": {"root": str(cifar100), "train": 48, "held_out": 16},
        "train": {
            "total_iter": 12,
            "optim": {"type": "SGD", "lr": 0.1, "momentum": 0.9},
            "losses": [{"type": "CrossEntropyLoss"}],
            "precision": "fp32",
        },
        "logger": {"print_freq": 100, "use_tb_logger": False},
    }

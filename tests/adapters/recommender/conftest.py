"""A synthetic table of ratings with user preferences, and a recipe for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 users by 40 items, ratings 1 to 5 from two groups of users; with header, text ids and times."""
    rng = np.random.default_rng(0)
    kind, genre = rng.integers(2, size=200), rng.integers(2, size=40)
    lines = ["user,item,rating,timestamp"]
    for u in range(200):
        likes = np.where(kind[u] == genre, 4.0, 1.0)
        for i in rng.choice(40, 16, replace=False, p=likes / likes.sum()):
            rating = int(np.clip(round(likes[i] + rng.normal(0, 0.7)), 1, 5))
            lines.append(f"u{u},film {i},{rating},{rng.integers(10**6)}")
    path = tmp_path_factory.mktemp("ratings") / "ratings.csv"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def recipe(table: Path) -> dict[str, Any]:
    """A recipe that trains a small network in half a second."""
    return {
        "name": "tiny",
        "task": "recommender",
        "network": {"type": "MF", "dim": 4},
        "batch_size": 50,
        "data": {"root": str(table), "relevant": 4},
        "train": {
            "total_iter": 40,
            "optim": {"type": "Adam", "lr": 0.05},
            "losses": [{"type": "CrossEntropyLoss"}],
            "precision": "fp32",
        },
        "logger": {"print_freq": 100, "use_tb_logger": False},
    }

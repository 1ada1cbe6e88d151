"""Recipes for tiny weather students: from a synthetic table, and from simulations."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from support_weather import section, summers, write


@pytest.fixture
def recipe(tmp_path: Path) -> dict[str, Any]:
    path = write(tmp_path / "table.csv", summers([2013, 2014, 2015]))
    return {
        "name": "tiny",
        "task": "weather",
        "network": {"type": "MLP", "width": 8, "depth": 1},
        "batch_size": 30,
        "data": {"table": section(root=str(path))},
        "train": {
            "total_iter": 8,
            "optim": {"type": "Adam", "lr": 3e-3},
            "losses": [{"type": "MSELoss"}],
            "precision": "fp32",
        },
        "logger": {"print_freq": 100, "use_tb_logger": False},
    }

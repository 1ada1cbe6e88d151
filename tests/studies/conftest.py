from pathlib import Path
from typing import Any

import pytest
from study_files import L1, VID

from srkd.training.run import Run


@pytest.fixture
def study(recipe: dict[str, Any], photos: Path, tmp_path: Path) -> dict[str, Any]:
    """Two variants and two seeds, with a teacher of random weights; the control is added."""
    teacher = Run({**recipe, "name": "teacher", "train": {**recipe["train"], "total_iter": 1}}, tmp_path, quiet=True)
    weights = teacher.train()["models"]["net_g"]
    base = {
        **recipe,
        "network_g_teacher": {"file": weights},
        "cache": {"patches": 16, "dir": str(tmp_path / "caches")},
        "val": {"val_freq": 2},
    }
    return {
        "name": "tiny",
        "base": base,
        "seeds": [0, 1],
        "sets": [str(photos)],
        "variants": [
            {"name": "output", "losses": [L1, {"type": "output", "weight": 0.5}]},
            {"name": "vid", "losses": [L1, VID], "set": {"train.clip_grad_norm": 1.0}},
        ],
    }

"""A tiny teacher on torch, and a recipe that imitates it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from srkd import networks
from srkd.inference import backends
from srkd.training.checkpoint import save_weights


@pytest.fixture(scope="session")
def teacher_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a small x4 network with random weights."""
    torch.manual_seed(7)  # not that of the recipes: the student would start as the teacher
    spec = {"type": "NearestResNet", "num_feat": 4, "num_block": 1, "upscale": 4}
    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    save_weights(path, networks.build(spec).state_dict(), {"network": spec, "scale": 4})
    return path


@pytest.fixture
def imitation(photos: Path, teacher_file: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A recipe with a bank of 100 patches; the teacher runs on torch, which starts faster than OpenVINO."""
    monkeypatch.setattr(backends, "installed", lambda runtime: False)
    return {
        "name": "tiny",
        "task": "imitation",
        "scale": 4,
        "network_g": {"type": "NearestResNet", "num_feat": 4, "num_block": 1},
        "network_g_teacher": {"file": str(teacher_file)},
        "bank": {"patches": 100, "lr_size": 8},
        "datasets": {
            "train": {"dataroot_gt": str(photos), "gt_size": 24, "batch_size_per_gpu": 4},
            "val": {"name": "photos", "dataroot_gt": str(photos)},
        },
        "train": {"total_iter": 6, "optim_g": {"type": "Adam", "lr": 1e-3}, "precision": "fp32"},
        "logger": {"print_freq": 1, "use_tb_logger": False},
    }

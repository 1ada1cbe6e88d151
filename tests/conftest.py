"""What tests share: small images that look like images, recipes for them, and the real data where there is any."""

from __future__ import annotations

import os

# Networks this small gain nothing from a second thread, and tests often share the machine. Before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path
from typing import Any

import pytest
import torch

from srkd import networks
from srkd.images.read import ImageData, write_image
from srkd.inference import backends
from srkd.training.checkpoint import save_weights
from support import textured

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's cache folder."""
    monkeypatch.setenv("SRKD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four images of about 60x50."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        write_image(folder / f"p{number}.png", ImageData(textured(number, 48 + 2 * number, 60)))
    return folder


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; the test is skipped where it is absent."""
    folder = Path(os.environ.get("SRKD_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "sr").is_dir():
        pytest.skip("the real data sets are not here: set SRKD_DATA to a folder that has sr/eval")
    return folder


@pytest.fixture
def recipe(photos: Path) -> dict[str, Any]:
    """A recipe that trains a tiny EDSR in well under a second."""
    return {
        "name": "tiny",
        "scale": 2,
        "network_g": {"type": "EDSR", "num_feat": 4, "num_block": 2, "img_range": 1.0},
        "datasets": {
            "train": {"dataroot_gt": str(photos), "gt_size": 16, "batch_size_per_gpu": 4},
            "val": {"name": "photos", "dataroot_gt": str(photos)},
        },
        "train": {"total_iter": 6, "optim_g": {"type": "Adam", "lr": 1e-3}, "precision": "fp32"},
        "logger": {"print_freq": 1, "use_tb_logger": False},
    }


@pytest.fixture(scope="session")
def six(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of six images, two of them in a subfolder."""
    root = tmp_path_factory.mktemp("photos")
    for number in range(6):
        write_image(root / ("more" if number > 3 else "") / f"p{number}.png", ImageData(textured(number, 60, 70)))
    return str(root)


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


@pytest.fixture
def study(recipe: dict[str, Any], photos: Path) -> dict[str, Any]:
    """Four runs: the control, which is added, and another loss, with two seeds."""
    variants = [{"name": "l2", "losses": [{"type": "MSELoss"}]}]
    recipe["train"]["losses"] = [{"type": "L1Loss"}]
    return {"name": "tiny", "base": recipe, "seeds": [0, 1], "sets": [str(photos)], "variants": variants}

"""Sizes of these tests: short ones by default, the long ones of `make soak` where SRKD_SOAK is set."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from srkd.engine.checkpoint import save_weights
from srkd.sr.networks import build

TINY = {"type": "EDSR", "num_feat": 4, "num_block": 2, "upscale": 2, "img_range": 1.0}


@pytest.fixture
def rounds() -> Callable[[int, int], int]:
    """`rounds(short, long)`: how often something is done."""
    return lambda short, long: long if os.environ.get("SRKD_SOAK") else short


@pytest.fixture
def tell(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a figure of the long form, which is for the documentation."""

    def say(text: str) -> None:
        if os.environ.get("SRKD_SOAK"):
            with capfd.disabled():
                print(f"\n{request.node.name}: {text}", flush=True)

    return say


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny network with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save_weights(path, build(TINY).state_dict(), {"network": TINY, "scale": 2})
    return path

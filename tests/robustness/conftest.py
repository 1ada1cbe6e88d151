"""Sizes of these tests: short ones by default, the long ones of `make soak` where SRKD_SOAK is set."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch

from robustness.cases import CASES, TINY, Uninterrupted
from srkd.networks import build
from srkd.training.checkpoint import save_weights


@pytest.fixture
def rounds() -> Callable[[int, int], int]:
    """`rounds(short, long)`: the number of repetitions."""
    return lambda short, long: long if os.environ.get("SRKD_SOAK") else short


@pytest.fixture
def tell(request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Print a figure of the long form, for the documentation."""

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


@pytest.fixture(scope="session")
def uninterrupted(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Uninterrupted]:
    """`uninterrupted(name)`: the case of that name, run once without interruption."""

    @cache
    def done(name: str) -> Uninterrupted:
        return Uninterrupted.of(name, tiny, tmp_path_factory.mktemp(name) / "whole")

    return done


def cases(*short: str) -> pytest.MarkDecorator:
    """Parametrise by every case; in the short form by these only."""
    return pytest.mark.parametrize("name", list(CASES) if os.environ.get("SRKD_SOAK") else list(short))

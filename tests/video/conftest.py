"""A tiny network, for the tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from srkd.inference.model import Model
from support import tiny_checkpoint


@pytest.fixture(scope="package")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="package")
def model(checkpoint: Path) -> Model:
    return Model.load(checkpoint)

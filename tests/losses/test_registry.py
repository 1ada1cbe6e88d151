"""Looking up and building losses by name, and the errors for unknown names."""

from __future__ import annotations

import pkgutil
import re
from pathlib import Path

import pytest
import torch

import srkd.losses
from srkd.errors import SrkdError
from srkd.losses import Loss, registry

# Losses that are another one with other inputs or options, in its file.
ALIASES = {
    "L1Loss": "output",
    "MSELoss": "output",
    "CharbonnierLoss": "output",
    "GANLossD": "gan_loss",
    "paraphrase": "factor_transfer",
}
SHARED = {"align", "base", "efficientnet", "logits", "numeric", "registry", "relation", "sampling", "vgg"}


def file_of(name: str) -> str:
    """The module of a loss: its name, BasicSR's names in snake case (FFTLoss: fft_loss)."""
    return ALIASES.get(name) or re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def test_every_loss_is_in_the_file_of_its_name_and_tested_in_its_own():
    expected = {name: f"srkd.losses.{file_of(name)}" for name in srkd.losses.names()}
    assert {name: srkd.losses.get(name).__module__ for name in expected} == expected
    modules = {module.name for module in pkgutil.iter_modules(srkd.losses.__path__)}
    assert modules == SHARED | {file_of(name) for name in expected}
    tested = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert tested - {"every_loss"} == modules


@pytest.fixture
def scratch(monkeypatch):
    """Restores the registry after the test."""
    srkd.losses.names()
    monkeypatch.setattr(registry._LOSSES, "_classes", dict(registry._LOSSES._classes))


def test_unknown_name_names_the_nearest():
    with pytest.raises(SrkdError, match=r'unknown loss "fitnets" \(did you mean "fitnet"\?\)'):
        srkd.losses.get("fitnets")


def test_unknown_option_names_the_nearest():
    with pytest.raises(SrkdError, match=r'kd: unknown option "temprature" \(did you mean "temperature"\?\)'):
        srkd.losses.build("kd", temprature=2)


def test_missing_option_is_named(scratch):
    @srkd.losses.register("scaled_l1")
    class Scaled(Loss):
        def __init__(self, scale: float) -> None:
            super().__init__()
            self.scale = scale

        def forward(self, student, teacher, target=None, **context):
            return self.scale * (student - teacher).abs().mean()

    with pytest.raises(SrkdError, match="scaled_l1: needs the option scale"):
        srkd.losses.build("scaled_l1")
    assert srkd.losses.build("scaled_l1", scale=2.0)(torch.zeros(2), torch.ones(2)).item() == 2.0
    assert "scaled_l1" in srkd.losses.names()


def test_an_invalid_value_is_reported_with_reason_and_loss():
    with pytest.raises(SrkdError, match=r"kd: temperature must be a number > 0, got 0"):
        srkd.losses.build("kd", temperature=0)
    with pytest.raises(SrkdError, match=r"rkd: instances must be one of image, pooled, patch, pixel, got 'pixels'"):
        srkd.losses.build("rkd", instances="pixels")


def test_duplicate_names_raise(scratch):
    with pytest.raises(SrkdError, match='two loss classes are registered as "kd"'):

        @srkd.losses.register("kd")
        class Other(Loss):
            pass


def test_options_list_names_and_defaults():
    found = srkd.losses.options("rkd")
    assert list(found) == ["distance_weight", "angle_weight", "instances", "patch", "samples"]
    assert found["distance_weight"].default == 25.0

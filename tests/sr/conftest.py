"""Fixtures of the GAN tests."""

from typing import Any

import pytest


@pytest.fixture
def gan(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe that trains a tiny SRGAN."""
    recipe["task"] = "sr.gan"
    recipe["network_d"] = {"type": "SRGANDiscriminator", "num_feat": 2, "input_size": 16, "num_dense": 4}
    recipe["train"] |= {
        "optim_d": {"type": "Adam", "lr": 1e-3},
        "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
        "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 0.1},
    }
    return recipe

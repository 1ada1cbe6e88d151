"""A teacher that is itself being trained: each side of bidirectional distillation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from srkd.distill.taps import Taps
from srkd.distill.teachers import Prediction


class Peer:
    """Predicts a batch with the current weights of a network, in eval mode and without gradients.

    Args:
        taps: paths of the modules whose features are returned.
    """

    def __init__(self, network: nn.Module, taps: Sequence[str]) -> None:
        self.network, self.taps = network, Taps(network, taps)

    @torch.no_grad()
    def __call__(self, batch: Mapping[str, Any]) -> Prediction:
        training = self.network.training
        self.network.eval()
        with self.taps:
            output = self.network(batch["input"])
        self.network.train(training)
        return Prediction(output, self.taps.features)

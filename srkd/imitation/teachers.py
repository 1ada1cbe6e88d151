"""Teachers of outputs: anything that upscales a uint8 image, whether or not its network is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from srkd.errors import SrkdError
from srkd.inference import backends
from srkd.inference.backends.engine import Engine
from srkd.inference.model import Model
from srkd.networks.loading import LoadedNetwork
from srkd.sr.teacher_cache import network_hash
from srkd.training.precision import bf16_is_fast


@dataclass(frozen=True)
class OutputTeacher:
    """`teacher(pixels)`: uint8 RGB (N, H, W, 3) to (N, scale H, scale W, 3).

    `digest` identifies its weights; `runtime` is what computes its outputs.
    """

    name: str
    scale: int
    digest: str
    engine: Engine

    @property
    def runtime(self) -> str:
        return str(self.engine)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return self.engine(pixels)


def of_network(loaded: LoadedNetwork, device: torch.device | str = "cpu") -> OutputTeacher:
    """A teacher from a torch network, on the fastest runtime whose rounding hardly matters for 8-bit outputs.

    On a CPU that is OpenVINO if installed (and able to run the network), otherwise torch; bf16 where it is fast.
    """
    precision = "bf16" if bf16_is_fast(torch.device(device).type) else "fp32"
    model = Model(
        loaded.network, loaded.scale, loaded.name, loaded.multiple, dict(loaded.meta), minimum=loaded.minimum
    )
    engine = None
    if torch.device(device).type == "cpu" and backends.installed("openvino"):
        try:
            engine = backends.open_engine(model, "openvino", precision)
        except SrkdError:  # it lacks an operator of this network
            engine = None
    if engine is None:
        engine = backends.open_engine(model, "torch", precision)
    return OutputTeacher(loaded.name, loaded.scale, network_hash(loaded.network), engine)

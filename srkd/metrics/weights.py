"""Files of weights that torchvision publishes and srkd never downloads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from srkd.errors import SrkdError


def torchvision_file(metric: str, network: str, file: str, variable: str) -> Path:
    """The path in the environment variable, else the file in torch's cache of checkpoints.

    Raises:
        SrkdError: not found; names the metric, the network and the variable.
    """
    given = os.environ.get(variable)
    path = Path(given) if given else Path(torch.hub.get_dir()) / "checkpoints" / file
    if not path.is_file():
        raise SrkdError(
            f"{metric} needs {network}'s weights, {path} not found: download torchvision's {file} "
            f"and set {variable} to its path"
        )
    return path


def load_convolutions(path: Path, network: str, layers: Mapping[int, torch.nn.Module]) -> None:
    """Load `features.<number>.*` of torchvision's AlexNet or VGG into layers by number.

    Raises:
        SrkdError: the file does not contain them.
    """
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        for number, layer in layers.items():
            prefix = f"features.{number}."
            layer.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except Exception as error:
        raise SrkdError(f"{path} does not contain {network}'s weights: {str(error).splitlines()[0]}") from error

"""Other people's checkpoints: spandrel finds architecture, scale and hyper-parameters in the shapes of the weights.

The only file that imports spandrel. Files are read by torch's restricted unpickler (`weights_only=True`) or as
safetensors, whatever their extension, so that a checkpoint is never a program.
"""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError
from srkd.integrations import ncnn
from srkd.integrations.torchvision_mend import import_torchvision
from srkd.safe_load import building, check_file, check_weights


@dataclass(frozen=True)
class SpandrelNetwork:
    """A network that spandrel recognised, and what it says of it.

    `network` is in eval mode, float32 on the CPU; it takes and gives (N, channels, H, W) RGB around [0, 1], the output
    `scale` times the size and not clamped. H and W must be multiples of `multiple`, at least `minimum`, and equal where
    `square`: `padded` sees to that.
    """

    network: nn.Module
    architecture: str
    scale: int
    parameters: int
    multiple: int
    minimum: int
    square: bool
    input_channels: int
    output_channels: int
    tags: tuple[str, ...]

    def padded(self, lr: Tensor) -> Tensor:
        """Run the network on (N, input_channels, H, W) of any size: padded by reflection to what it takes, cut back."""
        height, width = lr.shape[-2:]
        rows, columns = (-(-max(side, self.minimum) // self.multiple) * self.multiple for side in (height, width))
        if self.square:
            rows = columns = max(rows, columns)
        sr = self.network(_reflect(lr, rows - height, columns - width))
        return sr[..., : height * self.scale, : width * self.scale]


def load(path: Path) -> SpandrelNetwork:
    """Read a checkpoint (.pth, .pt, .ckpt, .safetensors) of any architecture that spandrel detects.

    Raises:
        SrkdError: spandrel is not installed; the file is missing, truncated, no checkpoint, or a pickle that would run
            code (which is refused, not run); its architecture is unknown, or needs a mask beside the picture; or as
            `srkd.safe_load`.
    """
    spandrel = _import()
    state = spandrel.canonicalize_state_dict(_read(path))
    check_weights(state, path)
    try:
        with warnings.catch_warnings(), building(state, str(path)):
            warnings.filterwarnings("ignore", message="torch.meshgrid")  # of several architectures, about the future
            found = spandrel.ModelLoader().load_from_state_dict(state)
    except spandrel.UnsupportedModelError:
        keys = ", ".join(list(state)[:3]) or "none"
        raise SrkdError(
            f"{path}: no architecture that spandrel {spandrel.__version__} knows has these weights (first keys: {keys})"
        ) from None
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, AssertionError) as error:
        raise SrkdError(
            f"{path}: spandrel takes it for a network it knows, but cannot build it: {_first_line(error)}"
        ) from error
    if not isinstance(found, spandrel.ImageModelDescriptor):
        raise SrkdError(f"{path}: {found.architecture.name} needs a mask beside the picture; srkd has none to give")
    return _describe(found.eval())


def _describe(found: Any) -> SpandrelNetwork:
    size, network = found.size_requirements, found.model.float()
    return SpandrelNetwork(
        network=network if _plainly_called(found) else _Called(network, found._call_fn),
        architecture=found.architecture.name,
        scale=found.scale,
        parameters=sum(p.numel() for p in network.parameters()),
        multiple=size.multiple_of,
        minimum=size.minimum,
        square=size.square,
        input_channels=found.input_channels,
        output_channels=found.output_channels,
        tags=tuple(found.tags),
    )


def _plainly_called(found: Any) -> bool:
    # spandrel's own `__call__` forbids gradients for good (inference mode), and most networks need nothing of it; only
    # an architecture that gives several outputs or another range brings a function of its own.
    return found._call_fn.__module__ == type(found).__module__


class _Called(nn.Module):
    """A network with the way spandrel calls it, for the few whose forward is not picture in, picture out."""

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.call = network, call

    def forward(self, lr: Tensor) -> Tensor:
        return self.call(self.network, lr)


def _reflect(lr: Tensor, bottom: int, right: int) -> Tensor:
    # Reflection reaches at most side - 1 pixels; a picture smaller than half of what is wanted repeats its last row.
    height, width = lr.shape[-2:]
    near = (0, min(right, width - 1), 0, min(bottom, height - 1))
    far = (0, right - near[1], 0, bottom - near[3])
    return F.pad(F.pad(lr, near, "reflect"), far, "replicate")


def _read(path: Path) -> dict[str, Any]:
    path = Path(path)
    if not path.is_file():
        raise SrkdError(f"{path}: no such checkpoint")
    check_file(path)
    if path.suffix.lower() == ".param":
        return dict(ncnn.state_dict(path, path.with_suffix(".bin")))
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load as load_safetensors

            return dict(sorted(load_safetensors(path.read_bytes()).items()))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of formats that weights_only then refuses by itself
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SrkdError(f"{path}: {_refusal(str(error))}") from None
    except Exception as error:  # a damaged file fails anywhere between zip, tar, pickle and safetensors
        raise SrkdError(f"{path}: not a readable checkpoint, perhaps truncated: {_first_line(error)}") from None
    if not isinstance(state, dict):
        raise SrkdError(f"{path}: holds {type(state).__name__}, not a dictionary of weights")
    return state


def _first_line(error: Exception) -> str:
    # torch lists every mismatched tensor on a line of its own, after one that says what failed.
    return str(error).strip().split("\n")[0].rstrip(": \t") or type(error).__name__


def _refusal(message: str) -> str:
    named = re.search(r"GLOBAL (\S+)", message)
    if named:
        return f"refused: it holds Python objects ({named[1]}), which could run code, and not only weights"
    return "not a readable checkpoint: damaged, or a pickle of more than weights (which srkd never runs)"


@cache
def _import() -> ModuleType:
    if importlib.util.find_spec("spandrel") is None:
        raise SrkdError("reading this checkpoint needs spandrel, which is not installed: pip install 'srkd[teachers]'")
    try:
        import_torchvision()
        return importlib.import_module("spandrel")
    except (ImportError, RuntimeError) as error:
        raise SrkdError(f"spandrel is installed but does not import: {error}") from error

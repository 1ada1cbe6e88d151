"""Other people's checkpoints: spandrel finds architecture, scale and hyper-parameters in the shapes of the weights.

The only file that imports spandrel.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from srkd.errors import SrkdError
from srkd.integrations.torchvision_compat import import_torchvision
from srkd.safe_load import building


class NotRecognisedError(SrkdError):
    """Weights of no architecture that spandrel knows."""


@dataclass(frozen=True)
class SpandrelNetwork:
    """A network that spandrel recognised, and what it says of it.

    `network` is in eval mode, float32 on the CPU; it takes and gives (N, channels, H, W) around [0, 1], the output
    `scale` times the size and not clamped. H and W must be multiples of `multiple`, at least `minimum`, and equal where
    `square`.
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


def load(
    state: Mapping[str, Tensor], origin: str, spare: Callable[[Tensor], bool] = lambda tensor: False
) -> SpandrelNetwork:
    """The network, of any architecture that spandrel detects, that weights belong to.

    Args:
        state: weights by name; `origin` names their file in errors.
        spare: whether a tensor that the network turns out not to have may be left out.

    Raises:
        NotRecognisedError: no architecture that spandrel knows.
        SrkdError: spandrel is not installed; it cannot build the network; that needs a mask beside the image; or as
            `srkd.safe_load.building`.
    """
    spandrel = _import()
    try:
        with warnings.catch_warnings(), building(state, origin):
            warnings.filterwarnings("ignore", message="torch.meshgrid")  # of several architectures, about the future
            found = _built(spandrel, spandrel.canonicalize_state_dict(dict(state)), spare)
    except SrkdError:
        raise
    except spandrel.UnsupportedModelError:
        raise NotRecognisedError(
            f"{origin}: not recognised: neither srkd nor spandrel {spandrel.__version__} knows a network with these "
            f"{len(state)} weights ({', '.join(list(state)[:3])}, ...)"
        ) from None
    except Exception as error:  # detection and construction index, divide and assert on whatever shapes there are
        raise SrkdError(
            f"{origin}: spandrel takes it for a network it knows, but cannot build it: {_first_line(error)}"
        ) from error
    if not isinstance(found, spandrel.ImageModelDescriptor):
        raise SrkdError(f"{origin}: {found.architecture.name} needs a mask beside the image; srkd has none to give")
    return _describe(found.eval())


def _built(spandrel: ModuleType, state: dict[str, Tensor], spare: Callable[[Tensor], bool]) -> Any:
    try:
        return spandrel.ModelLoader().load_from_state_dict(dict(state))
    except RuntimeError as error:
        unexpected = re.search(r"Unexpected key\(s\) in state_dict: (.*)", str(error))
        names = re.findall(r'"([^"]+)"', unexpected[1]) if unexpected else []
        if not names or not all(spare(state[name]) for name in names):
            raise
        return _built(spandrel, {key: tensor for key, tensor in state.items() if key not in names}, spare)


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
    """A network with the way spandrel calls it, for the few whose forward is not image in, image out."""

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.call = network, call

    def forward(self, lr: Tensor) -> Tensor:
        return self.call(self.network, lr)


def _first_line(error: Exception) -> str:
    # torch lists every mismatched tensor on a line of its own, after one that says what failed.
    return str(error).strip().split("\n")[0].rstrip(": \t") or type(error).__name__


@cache
def _import() -> ModuleType:
    if importlib.util.find_spec("spandrel") is None:
        raise SrkdError("reading this checkpoint needs spandrel, which is not installed: pip install 'srkd[teachers]'")
    try:
        import_torchvision()
        return importlib.import_module("spandrel")
    except (ImportError, RuntimeError) as error:
        raise SrkdError(f"spandrel is installed but does not import: {error}") from error

"""Third-party checkpoints: spandrel infers architecture, scale and hyper-parameters from the weights.

The only module that imports spandrel.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from srkd.errors import SrkdError
from srkd.integrations import dat
from srkd.integrations.torchvision_compat import import_torchvision
from srkd.safe_load import building

if TYPE_CHECKING:
    from spandrel import ImageModelDescriptor


class NotRecognisedError(SrkdError):
    """The weights match no architecture known to spandrel."""


def load(
    state: Mapping[str, Tensor], origin: str, spare: Callable[[Tensor], bool] = lambda tensor: False
) -> ImageModelDescriptor:
    """Build the network of these weights, of any architecture that spandrel detects; see `network_of`.

    Args:
        state: weights by name; `origin` names their file in errors.
        spare: whether a tensor that the network does not have may be ignored.

    Raises:
        NotRecognisedError: no architecture known to spandrel.
        SrkdError: spandrel is not installed; it cannot build the network; the network needs a mask besides the image;
            or as `srkd.safe_load.building`.
    """
    spandrel = _import()
    try:
        with warnings.catch_warnings(), building(state, origin):
            warnings.filterwarnings("ignore", message="torch.meshgrid")  # about a future default
            found = _built(spandrel, spandrel.canonicalize_state_dict(dict(state)), spare)
    except SrkdError:
        raise
    except spandrel.UnsupportedModelError:
        raise NotRecognisedError(
            f"{origin}: not recognised: neither srkd nor spandrel {spandrel.__version__} knows a network with these "
            f"{len(state)} weights ({', '.join(list(state)[:3])}, ...)"
        ) from None
    except Exception as error:  # detection and construction may raise anything for unexpected shapes
        raise SrkdError(
            f"{origin}: spandrel detects a known network, but cannot build it: {_first_line(error)}"
        ) from error
    if not isinstance(found, spandrel.ImageModelDescriptor):
        raise SrkdError(f"{origin}: {found.architecture.name} needs a mask besides the image: not supported")
    return found


def _built(spandrel: ModuleType, state: dict[str, Tensor], spare: Callable[[Tensor], bool]) -> Any:
    try:
        return spandrel.ModelLoader().load_from_state_dict(dict(state))
    except RuntimeError as error:
        unexpected = re.search(r"Unexpected key\(s\) in state_dict: (.*)", str(error))
        names = re.findall(r'"([^"]+)"', unexpected[1]) if unexpected else []
        if not names or not all(spare(state[name]) for name in names):
            raise
        return _built(spandrel, {key: tensor for key, tensor in state.items() if key not in names}, spare)


def network_of(found: ImageModelDescriptor) -> nn.Module:
    """The network in eval mode, float32 on the CPU: (N, channels, H, W) in [0, 1] to `found.scale` times the size, not
    clamped, for sides that meet `found.size_requirements`."""
    network: nn.Module = found.model.float().eval()
    dat.fuse_attention(network)
    return network if _plainly_called(found) else _Called(network, found._call_fn).eval()


def _plainly_called(found: Any) -> bool:
    # spandrel's `__call__` always disables gradients (inference mode), and most networks do not need it; only an
    # architecture with several outputs or another range defines its own call function.
    return bool(found._call_fn.__module__ == type(found).__module__)


class _Called(nn.Module):
    """A network with spandrel's call function, for the few whose forward is not image to image."""

    def __init__(self, network: nn.Module, call: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self.call = network, call

    def forward(self, lr: Tensor) -> Tensor:
        return self.call(self.network, lr)


def _first_line(error: Exception) -> str:
    # torch lists every mismatched tensor on its own line, after a first line that names the failure.
    return str(error).strip().split("\n")[0].rstrip(": \t") or type(error).__name__


def check_installed(what: str) -> None:
    """Raise SrkdError if spandrel, which reads `what`, is not installed."""
    if importlib.util.find_spec("spandrel") is None:
        raise SrkdError(f"reading {what} needs spandrel, which is not installed: pip install 'srkd[teachers]'")


@cache
def _import() -> ModuleType:
    check_installed("this checkpoint")
    try:
        import_torchvision()
        return importlib.import_module("spandrel")
    except (ImportError, RuntimeError) as error:
        raise SrkdError(f"spandrel is installed but does not import: {error}") from error

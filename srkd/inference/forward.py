"""A model's network in torch: from pixels through padding, views and the network, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from srkd.errors import SrkdError
from srkd.images.levels import from_levels
from srkd.inference.alpha import LUMA
from srkd.inference.model import NOT_FINITE, Model
from srkd.inference.views import eight_views

_NATIVE_BELOW = 20480


@torch.inference_mode()
def run(model: Model, x: Tensor, self_ensemble: bool = False) -> Tensor:
    """As `Model.run`."""
    x = x.contiguous(memory_format=torch.channels_last)
    if self_ensemble:
        return torch.stack([undo(_padded(model, view)) for view, undo in eight_views(x)]).mean(0)
    return _padded(model, x)


def _padded(model: Model, x: Tensor) -> Tensor:
    height, width = (side * model.scale for side in x.shape[-2:])
    output = model.network(model.sides.pad(x))
    if not isinstance(output, Tensor):
        raise SrkdError(f"{type(model.network).__name__} returns a {type(output).__name__}, not one tensor")
    output = output[..., :height, :width]
    if output.shape != (len(x), 3, height, width):
        raise SrkdError(
            f"the network returns {tuple(output.shape)} for {tuple(x.shape)} at x{model.scale}: is that its scale?"
        )
    return output


@torch.inference_mode()
def floats(model: Model, pixels: NDArray[Any], self_ensemble: bool = False) -> NDArray[np.float32]:
    """The network on (N, H, W, 3 or 1), uint8, uint16 or float32, to float32 of the same channels in [0, 1].

    Raises:
        SrkdError: as `Model.__call__`.
    """
    count, height, width, channels = pixels.shape
    x = torch.from_numpy(np.array(pixels, order="C")).to(model.device)  # a copy: networks may write to their input
    # Below this size torch uses another convolution kernel, which rounds differently, unless the batch is 2.
    batch = 2 if count == 1 and 3 * height * width <= _NATIVE_BELOW else count
    x = from_levels(x.permute(0, 3, 1, 2)).expand(batch, 3, -1, -1)
    y = model.run(x, self_ensemble)[:count].float()
    require_finite(y)
    y = y.clamp_(0, 1)
    if channels == 1:
        y = (y * torch.from_numpy(LUMA).to(y.device)[:, None, None]).sum(1, keepdim=True)
    return y.permute(0, 2, 3, 1).cpu().numpy()


def require_finite(output: Tensor) -> None:
    """Check a network's output (any shape) for NaN and infinity, which would become black or white pixels.

    Raises:
        SrkdError: it contains NaN or infinity.
    """
    # A sum is one pass without a temporary, and not finite if any of its terms is not.
    if not torch.isfinite(output.detach().sum(dtype=torch.float32)):
        raise SrkdError(NOT_FINITE)

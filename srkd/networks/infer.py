"""Inference on whole images, uint8 in and uint8 out, for evaluation and caches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from srkd.errors import SrkdError

Network = Callable[[Tensor], Tensor]


def to_tensor(image: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 RGB (H, W, 3) to float32 (1, 3, H, W) in [0, 1], channels last."""
    # Memory-mapped images are read-only, which torch warns about; copying bytes is cheap next to a network. The batch
    # dimension is added first: after the permutation its stride would not be recognised as channels last.
    return torch.from_numpy(image.copy()).to(device)[None].permute(0, 3, 1, 2).float().div_(255)


def to_image(tensor: Tensor) -> np.ndarray:
    """float (1, 3, H, W) to uint8 RGB (H, W, 3): clamped to [0, 1], times 255, rounded half to even.

    Raises:
        SrkdError: as `require_finite`.
    """
    require_finite(tensor)
    scaled = tensor.detach()[0].float().clamp(0, 1).mul(255).round().to(torch.uint8)
    return scaled.permute(1, 2, 0).cpu().numpy()


def require_finite(output: Tensor) -> None:
    """Check a network's output (any shape) for NaN and infinity, which would become black or white pixels.

    Raises:
        SrkdError: it contains NaN or infinity.
    """
    # A sum is one pass without a temporary, and not finite if any of its terms is not.
    if not torch.isfinite(output.detach().sum(dtype=torch.float32)):
        raise SrkdError(
            "the network's output contains NaN or infinity: its weights overflow on this image (or the image itself "
            "is not finite); use another checkpoint"
        )


@torch.inference_mode()
def run(
    network: Network, lr: Tensor, scale: int, multiple: int = 1, self_ensemble: bool = False, minimum: int = 1
) -> Tensor:
    """A network's output for a whole image.

    Args:
        lr: float (N, C, H, W) in [0, 1].
        multiple, minimum: the network's input sides must be multiples of `multiple` and at least `minimum`; the image
            is padded to fit, see `padded`.
        self_ensemble: average over the 8 flips and rotations (EDSR's "+", CVPRW 2017).

    Raises:
        SrkdError: the network returns something other than one tensor.
    """
    if self_ensemble:
        outputs = [undo(run(network, view, scale, multiple, minimum=minimum)) for view, undo in eight_views(lr)]
        return torch.stack(outputs).mean(0)
    height, width = lr.shape[-2:]
    sides = (padded_side(side, multiple, minimum) for side in (height, width))
    output = network(padded(lr, *sides))
    if not isinstance(output, Tensor):
        raise SrkdError(f"{type(network).__name__} returns a {type(output).__name__}, not one tensor")
    return output[..., : height * scale, : width * scale]


def padded_side(side: int, multiple: int, minimum: int = 1) -> int:
    """The smallest multiple of `multiple` that is at least `side` and `minimum`."""
    return -(-max(side, minimum) // multiple) * multiple


def padded(lr: Tensor, height: int, width: int) -> Tensor:
    """Pad (N, C, H, W) at the bottom and on the right to (N, C, height, width).

    By reflection as far as the image reaches; beyond that its last row and column are repeated.
    """
    bottom, right = height - lr.shape[-2], width - lr.shape[-1]
    if not (bottom or right):
        return lr
    near = (0, min(right, lr.shape[-1] - 1), 0, min(bottom, lr.shape[-2] - 1))
    far = (0, right - near[1], 0, bottom - near[3])
    reflected = F.pad(lr, near, "reflect") if any(near) else lr
    return F.pad(reflected, far, "replicate") if any(far) else reflected


def eight_views(x: Tensor) -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """Each flip and rotation of (N, C, H, W), with the function that undoes it."""
    for flips in ([], [-1], [-2], [-2, -1]):
        yield x.flip(flips), lambda y, flips=flips: y.flip(flips)  # type: ignore[misc]
        yield x.flip(flips).transpose(-2, -1), lambda y, flips=flips: y.transpose(-2, -1).flip(flips)  # type: ignore[misc]


def device_of(network: nn.Module) -> torch.device:
    """The device of a network's parameters; the CPU if it has none."""
    return next((p.device for p in network.parameters()), torch.device("cpu"))

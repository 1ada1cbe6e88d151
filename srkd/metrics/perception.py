"""Perceptual metrics: NIQE, without ground truth, and LPIPS. Lower is better.

Both need optional packages: basicsr for NIQE, lpips for LPIPS. LPIPS also needs AlexNet's weights, which
torchvision publishes as alexnet-owt-7be5be79.pth; nothing is downloaded here.
"""

from __future__ import annotations

import os
import warnings
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srkd.errors import SrkdError

WEIGHTS = "SRKD_ALEXNET"
# Added to a protocol's stamp for each metric.
STAMPS = {
    "niqe": "NIQE: BasicSR's, on Y, without ground truth",
    "lpips": "LPIPS: version 0.1, AlexNet, RGB",
}


def check(metric: str) -> None:
    """Check before scoring that a metric's packages and files are available.

    Raises:
        SrkdError: a package or a file is missing; names it and how to get it.
    """
    if metric == "niqe":
        from srkd.integrations import basicsr

        basicsr.package()
    elif metric == "lpips":
        _network(str(_weights()))


def niqe(output: np.ndarray, border: int) -> float:
    """NIQE of a uint8 RGB image (H, W, 3), of at least two blocks of 96x96 px inside the border.

    Mittal et al., "Making a Completely Blind Image Quality Analyzer", SPL 2013.

    Raises:
        SrkdError: basicsr is missing, or the image is too small or too flat for its statistics.
    """
    from srkd.integrations import basicsr

    height, width = (side - 2 * border for side in output.shape[:2])
    if (height // 96) * (width // 96) < 2:
        raise SrkdError(f"NIQE needs at least two blocks of 96x96 pixels inside the border, got {width}x{height}")
    try:
        return basicsr.niqe(output, border)
    except np.linalg.LinAlgError as error:
        raise SrkdError(f"NIQE's statistics of this image are degenerate: {error}") from error


def lpips(output: np.ndarray, hr: np.ndarray, border: int) -> float:
    """LPIPS of two uint8 RGB images (H, W, 3) of one size, of at least 32x32 px inside the border.

    Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018.

    Raises:
        SrkdError: lpips or AlexNet's weights are missing, or the image is too small.
    """
    height, width = (side - 2 * border for side in output.shape[:2])
    if min(height, width) < 32:
        raise SrkdError(f"LPIPS needs at least 32x32 pixels inside the border, got {width}x{height}")
    inside = (slice(border, border + height), slice(border, border + width))
    a, b = (torch.from_numpy(p[inside] / 127.5 - 1).permute(2, 0, 1)[None].float() for p in (output, hr))
    network = _network(str(_weights()))
    with torch.no_grad():
        return float(network(a, b))


def _weights() -> Path:
    given = os.environ.get(WEIGHTS)
    path = Path(given) if given else Path(torch.hub.get_dir()) / "checkpoints" / "alexnet-owt-7be5be79.pth"
    if not path.is_file():
        raise SrkdError(
            f"LPIPS needs AlexNet's weights, {path} not found: download torchvision's alexnet-owt-7be5be79.pth "
            f"and set {WEIGHTS} to its path"
        )
    return path


@cache
def _network(weights: str) -> Any:
    try:
        from srkd.integrations.torchvision_compat import import_torchvision

        import_torchvision()
        from lpips import LPIPS
    except ImportError as error:
        raise SrkdError(f"LPIPS is not installed ({error}): pip install lpips torchvision") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips 0.1.4 uses AlexNet options that torchvision has since deprecated
        network = LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
        for part in network.net.children():
            # lpips cuts AlexNet into slices whose layers keep their numbers in torchvision's `features`.
            for number, layer in part.named_children():
                prefix = f"features.{number}."
                layer.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except Exception as error:
        raise SrkdError(f"{weights} does not contain AlexNet's weights: {str(error).splitlines()[0]}") from error
    return network

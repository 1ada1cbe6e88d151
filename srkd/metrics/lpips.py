"""LPIPS, with the package of its authors."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path
from typing import Any

import torch

from srkd.errors import SrkdError
from srkd.integrations.torchvision_compat import import_torchvision
from srkd.metrics.registry import Metric, register
from srkd.metrics.scores import Pair
from srkd.metrics.weights import load_convolutions, torchvision_file

WEIGHTS = "SRKD_ALEXNET"
_FILE = "alexnet-owt-7be5be79.pth"


@register("lpips")
class LPIPS(Metric):
    """Learned distance of AlexNet's features, version 0.1, on RGB; at least 32x32 pixels.

    Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric", CVPR 2018.
    """

    label, digits, lower = "LPIPS", 4, True
    needs = f"lpips (extra `perceptual`); torchvision's {_FILE}, found by torch or named by {WEIGHTS}"
    stamp = "LPIPS: version 0.1, AlexNet, RGB"

    def check(self) -> None:
        _network(_weights())

    def __call__(self, pair: Pair) -> float:
        images = pair.inside("LPIPS", 32)
        a, b = (torch.from_numpy(p / 127.5 - 1).permute(2, 0, 1)[None].float() for p in images)
        network = _network(_weights())
        with torch.no_grad():
            return float(network(a, b))


def _weights() -> Path:
    return torchvision_file("LPIPS", "AlexNet", _FILE, WEIGHTS)


@cache
def _network(weights: Path) -> Any:
    try:
        import_torchvision()
        import lpips
    except ImportError as error:
        raise SrkdError(f"LPIPS is not installed ({error}): pip install 'srkd[perceptual]'") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips 0.1.4 uses AlexNet options that torchvision has since deprecated
        network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    # lpips cuts AlexNet into slices whose layers keep their numbers in torchvision's `features`.
    layers = {int(number): layer for part in network.net.children() for number, layer in part.named_children()}
    load_convolutions(weights, "AlexNet", layers)
    return network

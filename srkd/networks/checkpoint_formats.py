"""Checkpoints of residual SR networks from other tools: key layouts, and hyper-parameters inferred from shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

State = Mapping[str, Tensor]


def recognise(state: State) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The specification of the network with these weights, and the weights under srkd's names; None if not recognised.

    Recognises EDSR and MSRResNet with BasicSR's names (also traiNNer's), and EDSR with EDSR-PyTorch's. The caller must
    check that all names and shapes match. Options that shapes do not determine take those tools' defaults: img_range
    255 (for EDSR-PyTorch inferred from its mean shift), DIV2K's mean, res_scale 0.1 for 256 or more features, else 1.
    """
    weights = _from_edsr_pytorch(state) if "head.0.weight" in state else dict(state)
    first, last = weights.get("conv_first.weight"), weights.get("conv_last.weight")
    if first is None or last is None or "body.0.conv1.weight" not in weights or not first.dim() == last.dim() == 4:
        return None
    num_feat = first.shape[0]
    if num_feat == 0:
        return None
    common = {
        "num_in_ch": first.shape[1],
        "num_out_ch": last.shape[0],
        "num_feat": num_feat,
        "num_block": 1 + _last_number(r"body\.(\d+)\.", weights),
    }
    if "upconv1.weight" in weights:
        steps = _factors([weights[key] for key in ("upconv1.weight", "upconv2.weight") if key in weights], num_feat)
        return _msrresnet(common, steps, weights)
    if "conv_after_body.weight" in weights and "upsample.0.weight" in weights:
        widening = [tensor for key, tensor in weights.items() if re.fullmatch(r"upsample\.\d+\.weight", key)]
        return _edsr(common, _factors(widening, num_feat), weights, _img_range(state))
    return None


def _msrresnet(
    common: dict[str, Any], steps: list[int], weights: dict[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    spec = {"type": "MSRResNet", **common, "upscale": math.prod(steps)}
    if steps in ([2], [3], [2, 2]):
        return spec, weights
    return (spec | {"one_step": True}, weights) if len(steps) == 1 and steps[0] > 3 else None


def _edsr(
    common: dict[str, Any], steps: list[int], weights: dict[str, Tensor], img_range: dict[str, float]
) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    if steps != [3] and set(steps) != {2}:
        return None
    res_scale = 0.1 if common["num_feat"] >= 256 else 1.0
    return {"type": "EDSR", **common, "upscale": math.prod(steps), "res_scale": res_scale, **img_range}, weights


def _factors(widening: Iterable[Tensor], num_feat: int) -> list[int]:
    """The upscaling factor of each convolution before a pixel shuffle; 0 if its channels fit no factor."""
    roots = ((len(tensor) // num_feat, math.isqrt(len(tensor) // num_feat)) for tensor in widening)
    return [root if root * root == square else 0 for square, root in roots]


def _last_number(pattern: str, names: Iterable[str]) -> int:
    return max((int(found[1]) for found in map(re.compile(pattern).match, names) if found), default=-1)


def _img_range(state: State) -> dict[str, float]:
    """The img_range of an EDSR-PyTorch checkpoint, inferred from its mean shift's bias; {} for the default."""
    bias = state.get("sub_mean.bias")
    return {} if bias is None or bias.abs().max() > 1 else {"img_range": 1.0}


def _from_edsr_pytorch(state: State) -> dict[str, Tensor]:
    """EDSR-PyTorch's names (head, body, tail) to BasicSR's; the mean shifts are dropped."""
    last = _last_number(r"body\.(\d+)\.", state)
    rules = [
        (r"head\.0\.", r"conv_first."),
        (rf"body\.{last}\.(weight|bias)", r"conv_after_body.\1"),
        (r"body\.(\d+)\.body\.0\.", r"body.\1.conv1."),
        (r"body\.(\d+)\.body\.2\.", r"body.\1.conv2."),
        (r"tail\.0\.(\d+)\.", r"upsample.\1."),
        (r"tail\.1\.", r"conv_last."),
    ]
    result = {}
    for key, tensor in state.items():
        if key.startswith(("sub_mean.", "add_mean.")):
            continue
        for pattern, replacement in rules:
            key = re.sub(f"^{pattern}", replacement, key)
        result[key] = tensor
    return result

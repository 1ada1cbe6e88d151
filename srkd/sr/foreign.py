"""Checkpoints of residual SR networks that other tools wrote: key layouts, and hyper-parameters read from shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

State = Mapping[str, Tensor]


def recognise(state: State) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """The network that these weights belong to, and the weights under srkd's names; None where none is known.

    EDSR and MSRResNet with BasicSR's names (traiNNer's are the same), and EDSR with EDSR-PyTorch's. What shapes do not
    tell is taken as those tools have it: img_range 255, DIV2K's mean, res_scale 0.1 for 256 features and 1 below.
    """
    weights = _from_edsr_pytorch(state) if "head.0.weight" in state else dict(state)
    if "conv_first.weight" not in weights or "body.0.conv1.weight" not in weights or "conv_last.weight" not in weights:
        return None
    num_feat, num_in_ch = weights["conv_first.weight"].shape[:2]
    common = {
        "num_in_ch": num_in_ch,
        "num_out_ch": weights["conv_last.weight"].shape[0],
        "num_feat": num_feat,
        "num_block": 1 + max(int(m[1]) for m in map(re.compile(r"body\.(\d+)\.").match, weights) if m),
    }
    if "upconv1.weight" in weights:
        upscale = 4 if "upconv2.weight" in weights else {4: 2, 9: 3}[len(weights["upconv1.weight"]) // num_feat]
        return {"type": "MSRResNet", **common, "upscale": upscale}, weights
    if "conv_after_body.weight" in weights and "upsample.0.weight" in weights:
        stages = [key for key in weights if re.fullmatch(r"upsample\.\d+\.weight", key)]
        upscale = 3 if len(weights["upsample.0.weight"]) == 9 * num_feat else 2 ** len(stages)
        res_scale = 0.1 if num_feat >= 256 else 1.0
        return {"type": "EDSR", **common, "upscale": upscale, "res_scale": res_scale}, weights
    return None


def _from_edsr_pytorch(state: State) -> dict[str, Tensor]:
    """EDSR-PyTorch's names (head, body, tail) to BasicSR's; its mean shifts are not weights there."""
    last = max(int(m[1]) for m in map(re.compile(r"body\.(\d+)\.").match, state) if m)
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

"""Structured pruning of residual trunks: inner channels of the blocks, and whole blocks.

The result is a narrower network of the same class. Only the channels between a block's two convolutions can be pruned
individually: those of the trunk are shared by every block through the skip connections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srkd import networks
from srkd.errors import SrkdError
from srkd.inference.cost import parameters
from srkd.networks.blocks import ResidualBlock
from srkd.networks.loading import load_network
from srkd.networks.srresnet import NormedBlock
from srkd.training.checkpoint import save_weights

Block = ResidualBlock | NormedBlock


@dataclass(frozen=True)
class Pruned:
    """A pruned network in eval mode, the spec that builds it, and the kept parts: {block: inner channels}."""

    network: nn.Module
    spec: dict[str, Any]
    kept: dict[int, list[int]]


@torch.no_grad()
def prune(network: nn.Module, spec: Mapping[str, Any], keep: float = 1.0, blocks: float = 1.0) -> Pruned:
    """Remove the least important parts of an EDSR, MSRResNet or SRResNet.

    Args:
        network: an instance of srkd's classes in eval mode, as which BasicSR's checkpoints load too.
        spec: the spec that builds it, `meta["network"]` of a checkpoint.
        keep: share of each block's inner channels to keep, in (0, 1]; at least one is kept. The same in every block,
            so that widths stay equal.
        blocks: share of the blocks to keep, in (0, 1]; at least one is kept.

    Raises:
        SrkdError: a share outside (0, 1], or a network without a residual trunk.
    """
    for name, share in (("keep", keep), ("blocks", blocks)):
        if not 0 < share <= 1:
            raise SrkdError(f"{name} must be above 0 and at most 1, got {share:g}")
    kept = choose(trunk(network), keep, blocks)
    narrow_spec = {**spec, "num_block": len(kept), "num_mid": [len(channels) for channels in kept.values()]}
    narrow = networks.build(narrow_spec).eval()
    narrow.load_state_dict(_narrowed(network.state_dict(), kept))
    return Pruned(narrow, narrow_spec, kept)


def trunk(network: nn.Module) -> list[Block]:
    """The residual blocks of a network. Raises SrkdError if they cannot be pruned."""
    body = getattr(network, "body", None)
    modules = list(body) if isinstance(body, nn.Sequential) else []
    blocks = [block for block in modules if isinstance(block, (ResidualBlock, NormedBlock))]
    if not blocks or len(blocks) < len(modules):
        kind = type(network).__name__
        raise SrkdError(f"{kind} has no residual trunk that can be pruned; EDSR, MSRResNet and SRResNet have one")
    return blocks


def choose(trunk: Sequence[Block], keep: float, blocks: float) -> dict[int, list[int]]:
    """{block: inner channels} to keep, both in ascending order, by `importance`."""
    scores = [importance(block) for block in trunk]
    strength = torch.stack([score.norm() for score in scores])
    return {number: _best(scores[number], keep) for number in _best(strength, blocks)}


def _best(scores: Tensor, share: float) -> list[int]:
    count = max(1, round(share * len(scores)))
    return sorted(scores.argsort(descending=True, stable=True)[:count].tolist())


def importance(block: Block) -> Tensor:
    """The importance of each inner channel, (C,): L2 norm of the filter that produces it times that of the weights that
    consume it.

    Unlike the sum of the two, the product is invariant to scaling one up and the other down, as the network is. A batch
    norm in between is included.
    """
    first = fuse_conv_bn_eval(block.conv1, block.bn1) if isinstance(block, NormedBlock) else block.conv1
    assert first.bias is not None
    produced = torch.cat([first.weight.flatten(1), first.bias[:, None]], 1)
    consumed = block.conv2.weight.transpose(0, 1).flatten(1)
    scale = block.res_scale if isinstance(block, ResidualBlock) else 1.0
    return produced.norm(dim=1) * consumed.norm(dim=1) * abs(scale)


def _narrowed(state: Mapping[str, Tensor], kept: Mapping[int, Sequence[int]]) -> dict[str, Tensor]:
    """The weights under the narrow network's names: blocks renumbered, inner channels removed."""
    result = {name: value for name, value in state.items() if not name.startswith("body.")}
    for new, (old, channels) in enumerate(kept.items()):
        prefix = f"body.{old}."
        for name, value in state.items():
            if name.startswith(prefix):
                rest = name.removeprefix(prefix)
                result[f"body.{new}.{rest}"] = _of_channels(rest, value, channels)
    return result


def _of_channels(name: str, value: Tensor, channels: Sequence[int]) -> Tensor:
    if name == "conv2.weight":
        return value[:, channels]
    inner = name.startswith(("conv1.", "bn1.")) and value.dim() > 0
    return value[channels] if inner else value


def prune_file(model: str, output: Path, keep: float, blocks: float) -> str:
    """Prune a model by zoo name or path into a checkpoint that `srkd.load` reads; returns a one-line summary.

    Raises:
        SrkdError: as `load_network`, `prune` and `save_weights`; an output path without .safetensors.
    """
    if output.suffix != ".safetensors":
        raise SrkdError(f"{output}: a pruned network is written as .safetensors")
    loaded = load_network(model)
    pruned = prune(loaded.network, loaded.meta.get("network", {}), keep, blocks)
    lineage = {"pruned_from": loaded.name, "keep": keep, "blocks": blocks}
    meta = {key: value for key, value in loaded.meta.items() if key in ("colour", "licence")}
    meta |= {"network": pruned.spec, "scale": loaded.scale, "lineage": lineage}
    save_weights(output, pruned.network.state_dict(), meta)
    before, after = parameters(loaded.network), parameters(pruned.network)
    return f"{output}: {after:,} of {before:,} parameters, {len(pruned.kept)} blocks; fine-tune it before use"

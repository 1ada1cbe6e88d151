"""Structured pruning: channels of convolutional networks, and whole residual blocks.

torch-pruning traces which channels belong together: those of a layer and of the layers that read it, and those that a
skip connection adds up. The least important ones are removed; the result is a narrower network of the same class.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from srkd import networks
from srkd.errors import SrkdError
from srkd.inference.backends.engine import in_one_line
from srkd.inference.cost import parameters
from srkd.inference.loading import load_model
from srkd.networks.base import SRNetwork
from srkd.networks.luma import Luma
from srkd.networks.narrow import widths
from srkd.networks.sides import padded_side
from srkd.training.checkpoint import save_weights

_SIDE = 32  # of the image for tracing, a multiple of most windows


@dataclass(frozen=True)
class Pruned:
    """A pruned network in eval mode and the spec that builds it.

    `blocks` are the blocks of the trunk that were kept (empty if it has none), `channels` the channels kept of each
    layer whose outputs were pruned, by its path in the unpruned network.
    """

    network: nn.Module
    spec: dict[str, Any]
    blocks: list[int]
    channels: dict[str, list[int]]


@dataclass(frozen=True)
class Channels:
    """Channels that can only be removed together from the layers that write them and those that read them.

    Args:
        writers, readers: paths of the layers.
        importance: (channels,), see `_importance`.
        cells: outputs of the first writer per channel: more than 1 if a pixel shuffle follows it.
    """

    writers: list[str]
    readers: list[str]
    importance: Tensor
    cells: int = 1

    def best(self, share: float) -> list[int]:
        """The most important channels in ascending order; at least one."""
        return _best(self.importance, share)

    def outputs(self, channels: Sequence[int]) -> list[int]:
        """The outputs of the first writer that these channels consist of."""
        return [channel * self.cells + cell for channel in channels for cell in range(self.cells)]


@torch.no_grad()
def prune(
    network: nn.Module, spec: Mapping[str, Any], keep: float = 1.0, blocks: float = 1.0, features: float = 1.0
) -> Pruned:
    """Remove the least important parts of a network that consists of convolutions and linear layers.

    Args:
        network: a network in eval mode; it is not changed.
        spec: the spec that builds it, `meta["network"]` of a checkpoint.
        keep: share of the channels within blocks to keep, in (0, 1]; at least one is kept. The same in every block,
            so that widths stay equal. In a network without a declared trunk (`SRNetwork.trunk`): of all channels that
            one layer writes.
        blocks: share of the trunk's blocks to keep, in (0, 1]; at least one is kept.
        features: share of the other channels to keep, in (0, 1]: those that skip connections add up, and those of
            layers outside the trunk.

    Raises:
        SrkdError: a share outside (0, 1]; a network without a declared trunk if `blocks` is below 1; one that cannot
            be traced, or without channels that can be removed; torch-pruning is not installed.
    """
    for name, share in (("keep", keep), ("blocks", blocks), ("features", features)):
        if not 0 < share <= 1:
            raise SrkdError(f"{name} must be above 0 and at most 1, got {share:g}")
    narrow = copy.deepcopy(network).eval()
    kept_blocks = _remove_blocks(narrow, blocks)
    original = _original_paths(narrow, kept_blocks)
    trace = _Trace(narrow)
    channels: dict[str, list[int]] = {}
    for group in trace.groups:
        share = keep if trace.is_inner(group) else features
        kept = group.best(share)
        channels |= {original(writer): kept for writer in group.writers if share < 1}
        trace.remove(group, sorted(set(range(len(group.importance))) - set(kept)))
    narrow_spec = _described(network, narrow, spec)
    rebuilt = networks.build(narrow_spec).eval()
    with in_one_line(f"{type(network).__name__} does not run with fewer channels"):  # if its code assumes their number
        rebuilt.load_state_dict(narrow.state_dict())
        rebuilt(_image(rebuilt))
    return Pruned(rebuilt.to(next(network.parameters()).dtype), narrow_spec, kept_blocks, channels)


def inner_channels(network: nn.Module) -> list[Channels]:
    """The channels that `keep` of `prune` selects from. Raises SrkdError as `prune`."""
    trace = _Trace(copy.deepcopy(network).eval())
    return [group for group in trace.groups if trace.is_inner(group)]


class _Trace:
    """torch-pruning's graph of a network, which is pruned in place."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.trunk = network.trunk if isinstance(network, SRNetwork) else ""
        self._paths = {module: path for path, module in network.named_modules()}
        self._graph = _dependencies(network)

    @cached_property
    def groups(self) -> list[Channels]:
        """All channels that can be removed: not those of the output."""
        with _traced(self.network):
            found = [each for group in self._graph.get_all_groups(root_module_types=[nn.Conv2d, nn.Linear])
                     if (each := self._channels(group)) is not None]  # fmt: skip
        if not found:
            raise SrkdError(f"{type(self.network).__name__} has no channels that can be removed")
        return found

    def is_inner(self, group: Channels) -> bool:
        """Whether only one layer writes these channels, within the trunk if the network declares one."""
        return len(group.writers) == 1 and group.writers[0].startswith(f"{self.trunk}." if self.trunk else "")

    def remove(self, group: Channels, channels: Sequence[int]) -> None:
        """Remove channels of a group from every layer that reads or writes them."""
        if channels:
            root = self.network.get_submodule(group.writers[0])
            pruner = self._graph.get_pruner_of_module(root).prune_out_channels
            self._graph.get_pruning_group(root, pruner, group.outputs(channels)).prune()

    def _channels(self, group: Any) -> Channels | None:
        """A group of torch-pruning's; None if it contains the network's output or a grouped convolution."""
        writers, readers, cells = list[str](), list[str](), 1
        written, read = (torch.zeros(len(group[0].idxs)) for _ in range(2))
        for item in group:
            module = item.dep.target.module
            if type(module).__name__ == "_OutputOp" or (isinstance(module, nn.Conv2d) and module.groups > 1):
                return None
            if _kind(item.dep.target).startswith("PixelShuffle"):
                cells = max(cells, len(group[0].idxs) // len(item.idxs))
            if not isinstance(module, (nn.Conv2d, nn.Linear)):
                continue
            writes = self._graph.is_out_channel_pruning_fn(item.dep.handler)
            (writers if writes else readers).append(self._paths[module])
            norms = self._filters(module) if writes else module.weight.transpose(0, 1).flatten(1).norm(dim=1)
            (written if writes else read).index_add_(
                0, torch.tensor(item.root_idxs), norms.float()[list(item.idxs)].square()
            )
        scores = (written.view(-1, cells).sum(1) * read.view(-1, cells).sum(1)).sqrt()
        return Channels(writers, readers, scores.detach(), cells) if readers else None

    def _filters(self, layer: nn.Conv2d | nn.Linear) -> Tensor:
        """The norm of each output's weights and bias, with the batch norm that follows, (outputs,)."""
        following = [node.module for node in self._graph.module2node[layer].outputs]
        if len(following) == 1 and isinstance(following[0], nn.BatchNorm2d) and isinstance(layer, nn.Conv2d):
            layer = fuse_conv_bn_eval(layer, following[0])
        weight = layer.weight.flatten(1)
        output: Tensor = (weight if layer.bias is None else torch.cat([weight, layer.bias[:, None]], 1)).norm(dim=1)
        return output


def _best(scores: Tensor, share: float) -> list[int]:
    count = max(1, round(share * len(scores)))
    return sorted(scores.argsort(descending=True, stable=True)[:count].tolist())


@torch.enable_grad()
def _dependencies(network: nn.Module) -> Any:
    """torch-pruning's graph of a network's layers. Raises SrkdError as `prune`."""
    try:
        from torch_pruning import DependencyGraph
    except ImportError as error:
        raise SrkdError("pruning needs torch-pruning: pip install torch-pruning") from error
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    graph = DependencyGraph()
    with _traced(network):
        # The factor keeps the output apart from the last layer, whose channels must stay.
        graph.build_dependency(network, _image(network), output_transform=lambda y: 1 * y, verbose=False)
    _map_shuffles(graph)
    return graph


def _traced(network: nn.Module) -> AbstractContextManager[None]:
    """Tracing runs the network's own code and matches it with known operations: either may raise anything."""
    return in_one_line(f"{type(network).__name__} cannot be traced for pruning")


def _image(network: nn.Module) -> Tensor:
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    channels = 3 if first is None or first.in_channels != 1 else 1
    side = padded_side(_SIDE, network.multiple, network.minimum) if isinstance(network, SRNetwork) else _SIDE
    return torch.rand(1, channels, side, side, dtype=next(network.parameters()).dtype)


def _map_shuffles(graph: Any) -> None:
    """Tell torch-pruning, to which pixel shuffles are element-wise operations, which channels they merge or split."""
    for node in graph.module2node.values():
        kind = _kind(node)
        if not kind.startswith(("PixelShuffle", "PixelUnshuffle")):
            continue
        merges = kind.startswith("PixelShuffle")
        factor = node.grad_fn._saved_upscale_factor if merges else node.grad_fn._saved_downscale_factor
        merged, split = partial(_merged, cells=factor**2), partial(_split, cells=factor**2)
        for before in node.inputs:
            for source, target, merge in ((node, before, not merges), (before, node, merges)):
                for dependency in source.dependencies:
                    if dependency.target is target:
                        dependency.index_mapping[0] = merged if merge else split


def _merged(channels: Sequence[Any], cells: int) -> list[Any]:
    """torch-pruning's indices of channels, `cells` of which become one; each keeps the first one's origin."""
    first = {index.idx // cells: index for index in reversed(channels)}
    return [index._replace(idx=cell) for cell, index in sorted(first.items())]


def _split(channels: Sequence[Any], cells: int) -> list[Any]:
    """torch-pruning's indices of channels, each of which becomes `cells`."""
    return [index._replace(idx=index.idx * cells + cell) for index in channels for cell in range(cells)]


def _kind(node: Any) -> str:
    """The operation of a node of torch-pruning's graph, such as PixelShuffleBackward0."""
    return type(node.grad_fn).__name__


def _remove_blocks(network: nn.Module, share: float) -> list[int]:
    """Remove the least important blocks of the trunk, in place; the numbers of those kept."""
    path = network.trunk if isinstance(network, SRNetwork) else ""
    if not path:
        if share < 1:
            raise SrkdError(f"{type(network).__name__} does not declare a trunk whose blocks can be removed")
        return []
    body = network.get_submodule(path)
    assert isinstance(body, nn.Sequential)
    if share == 1:
        return list(range(len(body)))
    strength = torch.zeros(len(body))
    for group in inner_channels(network):
        number = int(group.writers[0].removeprefix(f"{path}.").split(".")[0])
        strength[number] += group.importance.square().sum()
    if not strength.any():  # all of the blocks' channels are the trunk's
        weights = [[p.square().sum() for p in block.parameters() if p.dim() > 1] for block in body]
        strength = torch.stack([torch.stack(each).sum() for each in weights])
    kept = _best(strength, share)
    owner, _, name = path.rpartition(".")
    setattr(network.get_submodule(owner), name, nn.Sequential(*(body[number] for number in kept)))
    return kept


def _original_paths(network: nn.Module, blocks: Sequence[int]) -> Any:
    """A function from a path in `network` to the path before blocks were removed from its trunk."""
    prefix = f"{network.trunk}." if isinstance(network, SRNetwork) and network.trunk else None

    def original(path: str) -> str:
        if prefix is None or not path.startswith(prefix):
            return path
        number, dot, rest = path.removeprefix(prefix).partition(".")
        return f"{prefix}{blocks[int(number)]}{dot}{rest}"

    return original


def _described(network: nn.Module, narrow: nn.Module, spec: Mapping[str, Any]) -> dict[str, Any]:
    """The spec of a pruned network: with other options if these describe it, else with `pruned_channels`.

    Raises:
        SrkdError: fewer blocks that no option describes.
    """
    plain = {key: value for key, value in spec.items() if key != "pruned_channels"}
    whole, kept = networks.build(plain), widths(narrow)
    described = {**plain, **_changed_sizes(whole, narrow)}
    with suppress(SrkdError):  # options that describe the narrower layers may be invalid
        if widths(networks.build(described)) == kept:
            return described
    before = widths(whole)
    if before.keys() != kept.keys():
        raise SrkdError(f"{type(network).__name__} has no options that describe fewer blocks; keep all of them")
    changed = {path: shape for path, shape in kept.items() if shape != before[path]}
    return {**plain, "pruned_channels": changed} if changed else plain


def _changed_sizes(whole: nn.Module, narrow: nn.Module) -> dict[str, Any]:
    """The options by which `narrow` differs from `whole`, as far as its class recognises them; None for the default.

    Fractions are no sizes: EDSR's `res_scale` is only guessed from the number of features.
    """
    if not isinstance(whole, SRNetwork):
        return {}
    found = (type(whole).recognise(each.state_dict()) for each in (whole, narrow))
    before, after = ({} if each is None else each[0] for each in found)
    return {
        name: after.get(name)
        for name in {*before, *after}
        if before.get(name) != after.get(name) and not isinstance(after.get(name), float)
    }


def prune_file(model: str, output: Path, keep: float, blocks: float, features: float = 1.0) -> str:
    """Prune a model by zoo name or path into a checkpoint that `srkd.load` reads; returns a one-line summary.

    Raises:
        SrkdError: as `load_model`, `prune` and `save_weights`; an output path without .safetensors, or the model's
            own; a network that only spandrel describes.
    """
    if output.suffix != ".safetensors":
        raise SrkdError(f"{output}: a pruned network is written as .safetensors")
    if output.exists() and Path(model).exists() and output.samefile(model):
        raise SrkdError(f"{output} would replace the network that it is made from; choose another output")
    loaded = load_model(model)
    if "network" not in loaded.meta:
        architecture = loaded.meta.get("architecture", type(loaded.network).__name__)
        raise SrkdError(f"{loaded.name}: {architecture} is read by spandrel; srkd has no description of it to change")
    network = loaded.network.network if isinstance(loaded.network, Luma) else loaded.network
    pruned = prune(network, loaded.meta["network"], keep, blocks, features)
    lineage = {"pruned_from": loaded.name, "keep": keep, "blocks": blocks, "features": features}
    meta = {key: value for key, value in loaded.meta.items() if key in ("colour", "licence")}
    meta |= {"network": pruned.spec, "scale": loaded.scale, "lineage": lineage}
    save_weights(output, pruned.network.state_dict(), meta)
    before, after = parameters(loaded.network), parameters(pruned.network)
    count = f", {len(pruned.blocks)} blocks" if pruned.blocks else ""
    return f"{output}: {after:,} of {before:,} parameters{count}; fine-tune it before use"

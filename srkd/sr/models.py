"""Trained networks by name or path: the zoo, a checkpoint of srkd's, or anybody's."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from srkd import trust
from srkd.engine.checkpoint import load_into, load_weights
from srkd.errors import SrkdError, unknown
from srkd.safe_load import building
from srkd.sr import foreign, networks, zoo
from srkd.sr.probe import check_output


@dataclass
class LoadedNetwork:
    """A trained network and what is known of it.

    `network` is in eval mode; float32 RGB (N, 3, H, W) in [0, 1] in, the same at `scale` times the size out (not
    clamped). H and W must be multiples of `multiple`. `meta` is the checkpoint's description, or what was found out.
    """

    network: nn.Module
    scale: int
    name: str
    multiple: int = 1
    meta: dict[str, Any] = field(default_factory=dict)


def load_network(name: str | Path, scale: int | None = None) -> LoadedNetwork:
    """Load a network by its zoo name or from a checkpoint file.

    Args:
        name: a zoo name (`srkd zoo list`), which goes before a file of that name, a .safetensors of srkd's, or a
            .pth/.safetensors of BasicSR, EDSR-PyTorch, traiNNer or anything spandrel detects; a file is a Path, or is
            named with a suffix or a slash. `auto` takes the zoo's default for `scale`.
        scale: what the caller needs; None takes the network's own.

    Raises:
        SrkdError: unknown name (nearest named), a file that is no checkpoint or as `srkd.safe_load`, or a scale that
            does not match, or is not the network's.
    """
    is_file, name = isinstance(name, Path) or is_path(name), str(name)
    if name == "auto":
        name = zoo.default_model(scale or 2)
    if is_file:
        loaded = _from_file(Path(name))
    elif name in zoo.external():
        loaded = _from_file(zoo.fetch(name))
        loaded.name = name
    else:
        path, meta = zoo.weights(name)
        loaded = _from_file(path)
        loaded.name, loaded.meta = name, {**loaded.meta, **meta}
    if scale is not None and loaded.scale != scale:
        raise SrkdError(f"{name} is a network for x{loaded.scale}, not x{scale}")
    check_output(loaded.network, loaded.scale, loaded.multiple, name)
    return loaded


def is_path(name: str) -> bool:
    """Whether a model's name means a file: one with a slash or a suffix that is no zoo model's name.

    A file that merely lies in the working folder must not stand in for a zoo model.
    """
    return os.sep in name or (Path(name).suffix != "" and name not in zoo.names() and name not in zoo.external())


def _from_file(path: Path) -> LoadedNetwork:
    if not path.is_file():
        raise SrkdError(f"{path}: no such checkpoint, and no zoo model of that name; the zoo has {_zoo_names()}")
    if path.suffix.lower() == ".param":  # ncnn's
        return _by_spandrel(path)
    state, meta = load_weights(path)
    if "network" in meta:
        return _described(path, state, meta)
    found = foreign.recognise(state)
    if found is not None:
        spec, weights = found
        with building(state, str(path)):
            network = networks.build(spec)
        load_into(network, weights, str(path))
        return LoadedNetwork(network.eval(), spec["upscale"], path.stem, meta={"network": spec, "source": path.name})
    return _by_spandrel(path)


def _zoo_names() -> str:
    return ", ".join(zoo.names()) or "none"


def _described(path: Path, state: Mapping[str, Tensor], meta: dict[str, Any]) -> LoadedNetwork:
    scale = meta.get("scale")
    if not isinstance(meta["network"], dict) or not isinstance(scale, int) or isinstance(scale, bool):
        raise SrkdError(f"{path}: its metadata does not say which network and scale it is for")
    network = networks.build_described(meta["network"], state, str(path))
    load_into(network, state, str(path))
    return LoadedNetwork(network.eval(), scale, path.stem, meta=meta)


def _by_spandrel(path: Path) -> LoadedNetwork:
    from srkd.integrations import spandrel

    found = spandrel.load(path)
    if found.input_channels != 3 or found.output_channels != 3:
        raise SrkdError(
            f"{path}: {found.architecture} takes {found.input_channels} channels and gives {found.output_channels}; "
            "srkd needs 3 and 3"
        )
    meta = {"architecture": found.architecture, "source": path.name}
    return LoadedNetwork(Padded(found.network, found.padded), found.scale, path.stem, 1, meta)


class Padded(nn.Module):
    """A network that takes any size because its input is padded and its output cut back; its modules keep their paths
    below `network`."""

    def __init__(self, network: nn.Module, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network, self._run = network, run

    def forward(self, x: Tensor) -> Tensor:
        return self._run(x)


def read_weights(name: str, scale: int | None) -> dict[str, Tensor]:
    """Weights to start a network from: a zoo name or a checkpoint file, under srkd's parameter names.

    Args:
        scale: which scale they must be for; None takes those of any.

    Raises:
        SrkdError: as `load_network`; or they are for another scale.
    """
    path = Path(name) if is_path(name) else zoo.weights(name)[0]
    state, meta = load_weights(path)
    found = foreign.recognise(state)
    known = meta.get("scale", found[0]["upscale"] if found else scale)
    if scale is not None and known != scale:
        raise SrkdError(
            f"{name}: weights for x{known}, but the recipe's scale is {scale}; path.strict_load_g: false starts from "
            "those that fit"
        )
    return found[1] if found and "network" not in meta else state


def build_or_load(spec: Mapping[str, Any], scale: int | None, role: str) -> LoadedNetwork:
    """A network from a recipe: `{zoo: name}`, `{file: path}`, or `{type: ..., **options}` with random weights.

    `trust_code: true` beside a file lets that name a class outside srkd.

    Raises:
        SrkdError: as `load_network` and `networks.build`, with `role` (network_g, network_g_teacher) named.
    """
    kinds = [key for key in ("zoo", "file", "type") if key in spec]
    if len(kinds) != 1:
        raise SrkdError(f"{role}: needs one of zoo, file or type, got {dict(spec)}")
    try:
        if kinds[0] == "type":
            network = networks.build(spec, scale)
            return LoadedNetwork(network, scale or 1, str(spec["type"]), meta={"network": _full(spec, scale, network)})
        extra = set(spec) - {kinds[0], "trust_code"}
        if extra:
            raise unknown("option", sorted(extra)[0], ["zoo", "file", "trust_code"])
        with trust.trusting(spec.get("trust_code") is True):
            return load_network(str(spec[kinds[0]]), scale)
    except SrkdError as error:
        raise SrkdError(f"{role}: {error}") from error


def _full(spec: Mapping[str, Any], scale: int | None, network: nn.Module) -> dict[str, Any]:
    """The spec with the scale filled in where the network takes one, so that a checkpoint needs no recipe."""
    options = dict(spec)
    for key in ("upscale", "scale"):
        if scale is not None and networks.takes(str(spec["type"]), key):
            options.setdefault(key, scale)
    return options

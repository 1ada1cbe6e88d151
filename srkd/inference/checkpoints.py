"""Checkpoints of srkd and of other tools as models: networks described by their metadata or recognised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from srkd import networks, trust
from srkd.errors import SrkdError, unknown
from srkd.inference.loading import is_path, load_model, local_file
from srkd.inference.model import Model
from srkd.networks import checkpoint_formats, zoo
from srkd.networks.base import SRNetwork
from srkd.networks.luma import Luma
from srkd.networks.probe import Padded, Probed, check_output, probe
from srkd.networks.sides import Sides
from srkd.safe_load import building, check_file, check_weights
from srkd.training import weight_files
from srkd.training.checkpoint import load_into, load_weights


def from_zoo(name: str) -> Model:
    """A model of the zoo, or a third-party checkpoint that the zoo can fetch, by name.

    Raises:
        SrkdError: as `load_model`.
    """
    if name in zoo.external():
        loaded = from_file(zoo.fetch(name))
        loaded.name = name
        return loaded
    path, meta = zoo.weights(name)
    loaded = from_file(path)
    loaded.name, loaded.meta = name, {**loaded.meta, **meta}
    return loaded


def checked(model: Model, origin: str) -> Model:
    """The model, after `check_output` of its network."""
    check_output(model.network, model.scale, model.sides, origin)
    return model


def from_file(path: Path) -> Model:
    """The model of a checkpoint file. Raises SrkdError as `load_model`."""
    if not path.exists():
        raise SrkdError(f"{path}: no such checkpoint, and no zoo model of that name; the zoo has {_zoo_names()}")
    state, meta = _ncnn(path) if path.suffix.lower() == ".param" else load_weights(path)
    if "network" in meta:
        return _described(path, state, meta)
    return _recognised(path, weight_files.without_counters(state), meta.get("torchscript", False))


def _ncnn(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from srkd.integrations import ncnn

    beside = path.with_suffix(".bin")
    if beside.is_file():
        check_file(beside)
    state = dict(ncnn.state_dict(path, beside))
    check_weights(state, beside)
    return state, {}


def _recognised(path: Path, state: Mapping[str, Tensor], spare: bool) -> Model:
    """Recognise the network of weights without a description; with `spare` unused tensors are ignored."""
    for weights in weight_files.candidates(state):
        for found in checkpoint_formats.recognised(weights):
            if (loaded := _own(path, *found, spare)) is not None:
                return loaded
    return _by_spandrel(path, state, spare)


def _own(path: Path, spec: dict[str, Any], weights: Mapping[str, Tensor], spare: bool) -> Model | None:
    """One of srkd's networks with these weights; None if they do not fit."""
    count = channels(spec.get("num_in_ch", 3), spec.get("num_out_ch", 3), str(path))
    with building(weights, str(path)):
        network = networks.build(spec)
    own = network.state_dict()
    try:
        load_into(network, {key: weights[key] for key in weights if key in own} if spare else weights, str(path))
    except SrkdError:
        return None
    meta = {"network": spec, "source": path.name}
    return _model(network, _scale_of(spec), path, meta, count, _declared(network))


def _declared(network: nn.Module) -> Sides:
    return Sides(network.multiple, network.minimum) if isinstance(network, SRNetwork) else Sides()


def _scale_of(spec: Mapping[str, Any]) -> int:
    return int(spec["upscale"] if "upscale" in spec else spec["scale"])


def _model(network: nn.Module, scale: int, path: Path, meta: dict[str, Any], channels: int, sides: Sides) -> Model:
    network = Luma(network, scale) if channels == 1 else network
    return Model(network.eval(), scale, path.stem, meta, sides=sides)


def _zoo_names() -> str:
    return ", ".join(zoo.names()) or "none"


def _described(path: Path, state: Mapping[str, Tensor], meta: dict[str, Any]) -> Model:
    scale = meta.get("scale")
    if not isinstance(meta["network"], dict) or not isinstance(scale, int) or isinstance(scale, bool):
        raise SrkdError(f"{path}: its metadata does not name the network and scale")
    spec = meta["network"]
    network = networks.build_described(spec, state, str(path))
    load_into(network, state, str(path))
    found = _probed(network.eval(), spec, scale)
    if found is None:
        raise SrkdError(f"{path}: {spec.get('type')} does not upscale images by {scale} at any size tried")
    count = channels(found.input_channels, found.output_channels, str(path))
    return _model(network, scale, path, meta, count, found.sides)


def _probed(network: nn.Module, spec: Mapping[str, Any], scale: int) -> Probed | None:
    """The channels and sides of a network; srkd's own declare them and need not be run."""
    if spec.get("type") in networks.names():
        return Probed(spec.get("num_in_ch", 3), spec.get("num_out_ch", 3), _declared(network))
    return probe(network, scale)


def _by_spandrel(path: Path, state: Mapping[str, Tensor], spare: bool) -> Model:
    from srkd.integrations import spandrel

    found = _first_known(path, state, spare)
    architecture, size = found.architecture.name, found.size_requirements
    count = channels(found.input_channels, found.output_channels, f"{path}: {architecture}")
    sides = Sides(size.multiple_of, max(1, size.minimum), size.square)
    meta = {"architecture": architecture, "source": path.name}
    return _model(spandrel.network_of(found), found.scale, path, meta, count, sides)


def _first_known(path: Path, state: Mapping[str, Tensor], spare: bool) -> Any:
    """spandrel's description of the network of the first weights that it recognises."""
    from srkd.integrations import spandrel

    errors: list[SrkdError] = []
    for weights in weight_files.candidates(state):
        try:
            return spandrel.load(weights, str(path), lambda tensor: spare or weight_files.is_counter(tensor))
        except SrkdError as error:
            errors.append(error)
    recognised = [error for error in errors if not isinstance(error, spandrel.NotRecognisedError)]
    raise [*recognised, *errors][0]


def channels(inputs: int, outputs: int, origin: str) -> int:
    """The number of channels of a network's input and output: 3 (RGB), or 1, which is run on the luma.

    Raises:
        SrkdError: any other numbers: colours would be lost or invented.
    """
    if inputs != outputs or inputs not in (1, 3):
        raise SrkdError(
            f"{origin}: takes {inputs} channels and returns {outputs}; images need 3 and 3 (RGB), or 1 and 1 (luma, "
            "with resized chroma)"
        )
    return inputs


def read_weights(name: str, scale: int | None, key: str | None = None) -> dict[str, Tensor]:
    """Pretrained weights from the zoo or a checkpoint file, under srkd's parameter names.

    Args:
        scale: the required scale; None accepts any.
        key: the table of a .pth that contains them, as in `load_weights`.

    Raises:
        SrkdError: as `load_model`, or weights for another scale.
    """
    path = local_file(name) if is_path(name) else zoo.weights(name)[0]
    state, meta = load_weights(path, key)
    found = next(
        (known for known in map(checkpoint_formats.recognise, weight_files.candidates(state)) if known is not None),
        None,
    )
    known = meta.get("scale", _scale_of(found[0]) if found else scale)
    if scale is not None and known != scale:
        raise SrkdError(
            f"{name}: weights for x{known}, but the recipe's scale is {scale}; path.strict_load_g: false loads "
            "those that fit"
        )
    return found[1] if found and "network" not in meta else state


def build_or_load(spec: Mapping[str, Any], scale: int | None, role: str) -> Model:
    """A network from a recipe: `{zoo: name}`, `{file: path}`, or `{type: ..., **options}` with random weights.

    With `trust_code: true` a file may name a class outside srkd.

    Raises:
        SrkdError: as `load_model` and `networks.build`; the message names `role` (network_g, network_g_teacher).
    """
    kinds = [key for key in ("zoo", "file", "type") if key in spec]
    if len(kinds) != 1:
        raise SrkdError(f"{role}: needs one of zoo, file or type, got {dict(spec)}")
    try:
        if kinds[0] == "type":
            return _built(spec, scale)
        extra = set(spec) - {kinds[0], "trust_code"}
        if extra:
            raise unknown("option", sorted(extra)[0], ["zoo", "file", "trust_code"])
        with trust.trusting(spec.get("trust_code") is True):
            return _self_padding(load_model(str(spec[kinds[0]]), scale))
    except SrkdError as error:
        raise SrkdError(f"{role}: {error}") from error


def _self_padding(model: Model) -> Model:
    """A model whose network pads by itself, because training calls it on patches: those of spandrel, whose module paths
    in recipes therefore start with `network`."""
    if "architecture" not in model.meta:
        return model
    return replace(model, network=Padded(model.network, model.scale, model.sides).eval(), sides=Sides())


def _built(spec: Mapping[str, Any], scale: int | None) -> Model:
    network = networks.build(spec, scale)
    found = _probed(network, spec, scale or 1)
    sides = Sides() if found is None else found.sides  # the dry run reports what fails
    meta = {"network": _full(spec, scale, network)}
    return Model(network, scale or 1, str(spec["type"]), meta, sides=sides)


def _full(spec: Mapping[str, Any], scale: int | None, network: nn.Module) -> dict[str, Any]:
    """The spec with the scale filled in if the network has that option, so that a checkpoint needs no recipe."""
    options = dict(spec)
    for key in ("upscale", "scale"):
        if scale is not None and networks.has_option(str(spec["type"]), key):
            options.setdefault(key, scale)
    return options

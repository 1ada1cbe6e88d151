"""Networks by name: srkd's own, BasicSR's by their registered names, any other by import path."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn

from srkd import trust
from srkd.errors import SrkdError, nearest, unknown
from srkd.networks.base import Ladder
from srkd.networks.narrow import narrow
from srkd.registry import Registry, imported
from srkd.safe_load import building, check_spec

N = TypeVar("N", bound=type[nn.Module])
_NETWORKS: Registry[nn.Module] = Registry("network", "srkd.networks")
# BasicSR's networks that a checkpoint may name: single-image networks and discriminators whose constructors neither
# open files nor download weights.
_SAFE_BASICSR = frozenset(
    {
        "ECBSR",
        "EDSR",
        "MSRResNet",
        "RCAN",
        "RIDNet",
        "RRDBNet",
        "SRVGGNetCompact",
        "SwinIR",
        "UNetDiscriminatorSN",
        "VGGStyleDiscriminator",
    }
)


def register(name: str) -> Callable[[N], N]:
    """Make a network class available to recipes and checkpoints under `name`."""

    def add(cls: N) -> N:
        _NETWORKS.register(name)(cls)
        return cls

    return add


def names() -> list[str]:
    """Names of srkd's own networks, sorted."""
    return list(_NETWORKS)


def registered(name: str) -> type[nn.Module]:
    """The class of one of `names()`. Raises SrkdError for another name."""
    return _NETWORKS[name]


def ladders() -> list[tuple[str, Ladder]]:
    """The sizes that networks declare, by registered name; a subclass does not inherit its base's."""
    found = ((name, vars(registered(name)).get("ladder")) for name in names())
    return [(name, ladder) for name, ladder in found if isinstance(ladder, Ladder)]


def build(spec: Mapping[str, Any], scale: int | None = None) -> nn.Module:
    """Build a network from a recipe's `{type: NAME, **options}`; for a checkpoint's use `build_described`.

    `type` is one of `names()`, a name in BasicSR's registry, or `package.module:Class` of a `torch.nn.Module`, whose
    module is imported. `scale` is the default of the network's option `upscale` or `scale`. `pruned_channels`, which
    `srkd prune` writes for networks whose options cannot describe narrower layers, is as in `narrow.narrow`.

        >>> network = build({"type": "EDSR", "num_feat": 16, "num_block": 8}, 2)
        >>> sum(parameter.numel() for parameter in network.parameters())
        49603

    Raises:
        SrkdError: unknown type or option (the nearest is suggested), a missing option, or another `scale` in the spec.
    """
    kind = spec.get("type")
    if isinstance(kind, str) and ":" in kind:
        trust.remember(kind)
    return _build(spec, scale)


def _build(spec: Mapping[str, Any], scale: int | None = None) -> nn.Module:
    options = dict(spec)
    kind, channels = options.pop("type", None), options.pop("pruned_channels", None)
    if not isinstance(kind, str):
        raise SrkdError(f"a network needs `type`, a name such as EDSR; got {dict(spec)}")
    constructor = _find(kind)
    known = _options(constructor)
    for key in ("upscale", "scale"):
        if known is None or key not in known or scale is None:
            continue
        if options.setdefault(key, scale) != scale:
            raise SrkdError(f"network {kind}: {key} is {options[key]} but the recipe's scale is {scale}")
    for key in options:
        if known is not None and key not in known:
            raise SrkdError(f"network {kind}: {unknown('option', key, known)}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.meshgrid")  # SwinIR's, about a future default
            network = constructor(**options)
        if channels is not None:
            narrow(network, channels)
        return network
    except Exception as error:  # options come from recipes and checkpoints; a constructor may raise anything
        text = (str(error).splitlines() or [""])[0]
        raise SrkdError(f"network {kind}: {text or type(error).__name__}") from error


def build_described(spec: Mapping[str, Any], state: Mapping[str, Tensor], origin: str) -> nn.Module:
    """Build the network that an untrusted checkpoint describes; none of the checkpoint's code runs.

    It may name srkd's own networks and the safe ones of BasicSR; a `package.module:Class` only if a recipe of this
    process has named it or the user trusts checkpoints (`srkd.trust`). Allocations are limited by the size of `state`,
    the checkpoint's weights.

    Raises:
        SrkdError: as `build`, `safe_load.check_spec` and `safe_load.building`; or a network that is not allowed.
    """
    kind = spec.get("type")
    if isinstance(kind, str) and ":" in kind:
        if not trust.allows(kind):
            raise SrkdError(
                f'{origin}: names the class "{kind}", whose code would run; if you trust both, use --trust-code '
                "(from Python trust_code=True, in a recipe trust_code: true)"
            )
        return _build(spec)
    check_spec(spec, origin)
    if isinstance(kind, str) and kind not in _NETWORKS and kind not in _SAFE_BASICSR:
        raise SrkdError(f"{origin}: {unknown('network', kind, {*_NETWORKS, *_SAFE_BASICSR})}")
    with building(state, origin):
        return _build(spec)


def has_option(kind: str, option: str) -> bool:
    """Whether the network `kind` has an option of this name."""
    known = _options(_find(kind))
    return known is not None and option in known


def _find(kind: str) -> Callable[..., nn.Module]:
    if kind in _NETWORKS:
        return _NETWORKS[kind]
    if ":" in kind:
        return _import(kind)
    from srkd.integrations import basicsr

    if basicsr.available():
        if kind in basicsr.network_names():
            return basicsr.network_class(kind)
        raise unknown("network", kind, [*_NETWORKS, *basicsr.network_names()])
    hint = nearest(kind, _NETWORKS) or f"; srkd has {', '.join(names())}"
    raise SrkdError(f'unknown network "{kind}"{hint}; BasicSR\'s networks need `pip install basicsr`')


def _import(path: str) -> Callable[..., nn.Module]:
    found = imported(path, "network")
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise SrkdError(f'network "{path}" is not a torch.nn.Module class; wrap the network in one')
    return found


def _options(constructor: Callable[..., nn.Module]) -> set[str] | None:
    """Names of a constructor's options, or None if it accepts any.

    `**options` of a network stand for those of the base class, and of the dataclass `Options` that the class names.
    """
    names: set[str] = set()
    for cls in inspect.getmro(constructor) if isinstance(constructor, type) else [constructor]:
        if cls is nn.Module:
            return None
        if isinstance(cls, type) and "__init__" not in vars(cls):
            shared = vars(cls).get("Options")
            if shared is not None:
                return names | {each.name for each in dataclasses.fields(shared)}
            continue
        parameters = inspect.signature(cls).parameters.values()
        names |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            return names
    return None

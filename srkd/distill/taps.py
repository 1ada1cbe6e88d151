"""Taps: intermediate features of any `nn.Module`, collected at module paths by forward hooks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from srkd.errors import SrkdError, nearest


def resolve(network: nn.Module, patterns: Iterable[str]) -> list[str]:
    """Module paths that match the patterns, in the network's order for each pattern, without repetition.

    `*` matches one component of a path (`body.*`), `{3,7,15}` one of several (`body.{3,7,15}`, in the given order).

        >>> network = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
        >>> resolve(network, ["{2,0}", "*"])
        ['2', '0', '1']

    Raises:
        SrkdError: a pattern matches nothing; the message names the nearest path.
    """
    paths = [name for name, _ in network.named_modules() if name]
    found: list[str] = []
    for pattern in patterns:
        matches = [path for plain in _braces(pattern) for path in paths if _regex(plain).fullmatch(path)]
        if not matches:
            hint = nearest(pattern, paths) or f"; available: {', '.join(paths[:12])}{' ...' if len(paths) > 12 else ''}"
            raise SrkdError(f'tap "{pattern}" matches no module of {type(network).__name__}{hint}')
        found += [path for path in matches if path not in found]
    return found


def _braces(pattern: str) -> Iterator[str]:
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        yield pattern
        return
    for choice in match[1].split(","):
        yield from _braces(pattern[: match.start()] + choice.strip() + pattern[match.end() :])


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*", r"[^.]+"))


class Taps:
    """Context manager that collects the outputs of the named modules of one network.

        >>> import torch
        >>> taps = Taps(nn.Sequential(nn.Linear(2, 3), nn.ReLU()), ["0"])
        >>> with taps:
        ...     output = taps.network(torch.ones(5, 2))
        >>> taps.features["0"].shape, taps.features["0"].requires_grad
        (torch.Size([5, 3]), True)

    The hooks are registered on this network's modules and removed at exit, so two runs in one process do not affect
    each other; a wrapper (DDP, Fabric) around the network changes nothing. If a module runs several times in one
    forward pass, its last output is kept.

    An in-place operation after the tapped module would overwrite the tapped output. The first pass through a tap is
    therefore cloned, and the tensor's version counter then shows whether later passes must be cloned too.

    Raises:
        SrkdError: a pattern matches no module, or a tapped module's output is not one tensor.
    """

    def __init__(self, network: nn.Module, patterns: Iterable[str]) -> None:
        self.network = network
        self.names = resolve(network, patterns)
        self.features: dict[str, Tensor] = {}
        self._clone = dict.fromkeys(self.names, True)
        self._seen: dict[str, tuple[Tensor, int]] = {}
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> Taps:
        self.features, self._seen = {}, {}
        for name in self.names:
            self._handles.append(self.network.get_submodule(name).register_forward_hook(self._hook(name)))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        if kind is None:
            self._check_versions()

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise SrkdError(f'tap "{name}": {type(module).__name__} returns {type(output).__name__}, not a tensor')
            # Inference tensors have no version counter; they are always cloned.
            versioned = not output.is_inference()
            self.features[name] = output.clone() if self._clone[name] or not versioned else output
            if versioned:
                self._seen[name] = (output, output._version)

        return hook

    def _check_versions(self) -> None:
        for name, (tensor, version) in self._seen.items():
            overwritten = tensor._version != version
            if overwritten and not self._clone[name]:
                raise SrkdError(
                    f'tap "{name}": its output was overwritten in place in this pass but not in earlier ones'
                )
            self._clone[name] = overwritten
        self._seen = {}

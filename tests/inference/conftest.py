"""Conversions of equal networks with equal metadata are computed once for all tests of this folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from torch import nn

from srkd.inference.backends import onnx, openvino

_Key = tuple[str, tuple[type, ...], str]
_CONVERTED: dict[_Key, Any] = {}


def _key(runtime: str, graph: nn.Module, facts: Mapping[str, Any]) -> _Key:
    """Equal for graphs of the same classes with the same tensors and settings."""
    digest = hashlib.sha256(json.dumps(dict(facts), sort_keys=True, default=str).encode())
    for name, module in graph.named_modules():
        settings = {key: value for key, value in vars(module).items() if not key.startswith("_")}
        digest.update(f"{name} {module.extra_repr()} {settings}".encode())
        for part, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            digest.update(f"{part} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().contiguous().numpy().tobytes())
    return runtime, tuple(type(module) for module in graph.modules()), digest.hexdigest()


def _once(convert: Callable[..., Any], runtime: str, copied: Callable[[Any], Any]) -> Callable[..., Any]:
    def converted(graph: nn.Module, facts: Mapping[str, Any]) -> Any:
        key = _key(runtime, graph, facts)
        if key not in _CONVERTED:
            _CONVERTED[key] = convert(graph, facts)
        return copied(_CONVERTED[key])

    return converted


def _copied_proto(model: Any) -> Any:
    copy = type(model)()
    copy.CopyFrom(model)
    return copy


@pytest.fixture(autouse=True)
def _converted_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(onnx, "convert", _once(onnx.convert, "onnx", _copied_proto))
    monkeypatch.setattr(openvino, "convert", _once(openvino.convert, "openvino", lambda model: model.clone()))
    yield

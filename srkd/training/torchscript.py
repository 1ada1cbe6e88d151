"""Read the weights of a TorchScript file as data; `torch.jit.load` would run the code in the file.

A TorchScript archive is a zip of `data.pkl`, a pickle of the modules' attributes, and the tensors' bytes in `data/`;
see torch/csrc/jit/serialization. Only tensors, plain values and modules are unpickled.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srkd.errors import SrkdError

_STORAGES = {
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "DoubleStorage": torch.float64,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_MAX_NAMES = 64 << 20  # bytes that the names of all attributes take
_NAME_BYTES = 64  # of a name, besides its characters


def load(path: Path) -> dict[str, Tensor]:
    """The tensors of a TorchScript module by module path: parameters, buffers and other tensor attributes.

    Raises:
        SrkdError: truncated, damaged, or with anything but modules, tensors and plain values (no code is run).
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            pickled = next(name for name in names if name.endswith("/data.pkl"))
            reader = _Reader(archive, pickled)
            state = dict(_tensors(reader.load()))
    except Exception as error:  # a damaged archive fails anywhere between zip, pickle and torch
        problem = (str(error).splitlines() or [type(error).__name__])[0]
        raise SrkdError(
            f"{path}: a TorchScript file that is damaged, or contains more than weights ({problem})"
        ) from error
    if not state:
        raise SrkdError(
            f"{path}: a TorchScript file that contains no weights (a frozen module stores them in its code)"
        )
    return state


class _Module:
    """A scripted or traced module: its attributes."""

    state: dict[str, Any]

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _Reader(pickle.Unpickler):
    """Unpickles `data.pkl` of an archive; allows only the globals of modules and tensors."""

    def __init__(self, archive: zipfile.ZipFile, pickled: str) -> None:
        data = archive.read(_stored(archive, pickled))
        _check_sizes(data)
        super().__init__(io.BytesIO(data))
        self._archive, self._folder = archive, pickled.removesuffix("data.pkl")
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".")[0] == "__torch__":
            return type("_Scripted", (_Module,), {})
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle":
            return _first
        allowed = {("torch._utils", "_rebuild_tensor_v2"): _rebuilt, ("collections", "OrderedDict"): OrderedDict}
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return allowed[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        if key not in self._storages:
            data = bytearray(self._archive.read(_stored(self._archive, f"{self._folder}data/{key}")))
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)
        return self._storages[key][:count]


def _check_sizes(data: bytes) -> None:
    """Raise ValueError for a pickle that makes its reader allocate far more than its size: by the number under which a
    value is remembered, the index of an array, or by the length of a bytearray."""
    for code, argument, _ in pickletools.genops(data):
        if code.name == "BYTEARRAY8" or (code.name.endswith("PUT") and (argument or 0) > len(data)):
            raise ValueError(f"its pickle has {code.name} of {argument}")


def _stored(archive: zipfile.ZipFile, name: str) -> zipfile.ZipInfo:
    """An uncompressed entry, as TorchScript writes it; a compressed one could expand to any size."""
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{name} is compressed")
    return info


def _first(value: Any, *_: Any) -> Any:
    """The value inside a typed list or other typed value."""
    return value


def _rebuilt(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if math.prod(size) > len(storage):
        raise ValueError(f"a tensor of {tuple(size)} with {len(storage)} values")
    return storage.as_strided(size, stride, offset)


def _tensors(root: Any) -> Iterator[tuple[str, Tensor]]:
    waiting, taken = [("", root)], 0
    while waiting:
        prefix, module = waiting.pop()
        if not isinstance(module, _Module):
            continue
        for name, value in reversed(getattr(module, "state", {}).items()):
            taken += _NAME_BYTES + len(prefix) + len(name)
            if taken > _MAX_NAMES:  # a module may be referenced many times
                raise ValueError("more attributes than a network has")
            if isinstance(value, Tensor):
                yield f"{prefix}{name}", value
            else:
                waiting.append((f"{prefix}{name}.", value))

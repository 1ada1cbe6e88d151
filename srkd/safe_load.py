"""Checks before, during and after reading an untrusted checkpoint.

A file of a few bytes may claim terabytes: a compressed archive, an expanded view of one number, a layer index or an
option that asks for a billion blocks. Each check limits what this process allocates by the size of the file.
"""

from __future__ import annotations

import re
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.utils._pytree import tree_leaves, tree_map

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.operators import OperatorMode

MAX_FILE = 8 << 30  # bytes of a checkpoint
_SLACK = 64 << 20  # bytes allowed regardless of the file's size
_MAX_INTEGER, _MAX_ITEMS, _MAX_TEXT = 100_000, 1000, 64
_BUILDING = threading.RLock()  # torch's registration hooks are global to the process


def _allowed(size: int) -> int:
    """Bytes that a file of `size` bytes may allocate: weights hardly compress, but a network has buffers and tied
    parts."""
    return 4 * size + _SLACK


def check_file(path: Path) -> None:
    """Check a checkpoint before it is read.

    Raises:
        SrkdError: larger than `MAX_FILE`, or an archive that decompresses to far more than its size.
    """
    size = path.stat().st_size
    if size > MAX_FILE:
        raise SrkdError(f"{printable_path(path)}: {size >> 30} GiB; the limit for a checkpoint is {MAX_FILE >> 30} GiB")
    decompressed = 0
    with suppress(zipfile.BadZipFile, OSError, ValueError, NotImplementedError):  # the reader reports what is wrong
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                decompressed = sum(entry.file_size for entry in archive.infolist())
    if decompressed > _allowed(size):
        raise SrkdError(f"{printable_path(path)}: {size:,} bytes that would decompress to {decompressed:,}; not read")


def check_pickle(path: Path) -> None:
    """Check a file of torch's format before torch reads it.

    torch's reader of weights accepts `bytearray`, which allocates and fills as many bytes as a number in the file says.

    Raises:
        SrkdError: it contains one, or is a damaged archive.
    """
    try:
        found = any(_contains(stream, b"bytearray") for stream in _pickles(path))
    except Exception as error:  # a damaged archive fails anywhere in zipfile
        reason = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise SrkdError(f"{printable_path(path)}: truncated or not a checkpoint ({reason})") from error
    if found:
        raise SrkdError(f"{printable_path(path)}: contains a bytearray, which no weights need; not read")


def _pickles(path: Path) -> Iterator[BinaryIO]:
    """The pickles of an archive; of any other file the whole file."""
    with path.open("rb") as file:
        if file.read(4) != b"PK\3\4":
            file.seek(0)
            yield file
            return
        with zipfile.ZipFile(file) as archive:
            for entry in archive.infolist():
                if entry.filename.endswith(".pkl"):
                    with archive.open(entry) as stream:
                        yield cast("BinaryIO", stream)


def _contains(stream: BinaryIO, word: bytes) -> bool:
    before = b""
    while block := stream.read(1 << 20):
        if word in before + block:
            return True
        before = block[1 - len(word) :]
    return False


def check_weights(state: Mapping[str, Any], path: Path) -> None:
    """Check weights that were read from a file, before anything is built from them.

    Raises:
        SrkdError: a tensor that is sparse, quantised, complex or not on the CPU; one larger than its storage; a layer
            index out of range; NaN or infinity.
    """
    total = 0
    for key, tensor in state.items():
        numbers = re.findall(r"\d+", str(key))
        if any(int(number[:12]) > _MAX_INTEGER for number in numbers):
            raise SrkdError(
                f"{printable_path(path)}: {printable_path(str(key)[:80])}: index over {_MAX_INTEGER:,}; not loaded"
            )
        if isinstance(tensor, Tensor):
            total += _checked_bytes(str(key), tensor, path)
    if total > _allowed(path.stat().st_size):
        raise SrkdError(f"{printable_path(path)}: its tensors take {total:,} bytes, far more than the file; not loaded")
    for key, tensor in state.items():
        if isinstance(tensor, Tensor) and tensor.is_floating_point() and not torch.isfinite(tensor.float()).all():
            raise SrkdError(
                f"{printable_path(path)}: {printable_path(str(key))} contains NaN, infinity or values beyond float32; "
                "its output would be black; use a checkpoint from before its training diverged"
            )


def _checked_bytes(key: str, tensor: Tensor, path: Path) -> int:
    plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    if not plain or tensor.is_complex():
        raise SrkdError(
            f"{printable_path(path)}: {printable_path(key)} is not a dense real tensor; convert the checkpoint first"
        )
    size = tensor.numel() * tensor.element_size()
    if size > tensor.untyped_storage().nbytes():
        raise SrkdError(
            f"{printable_path(path)}: {printable_path(key)} is {tuple(tensor.shape)}, larger than its storage"
        )
    return size


def check_spec(spec: Mapping[str, Any], origin: str) -> None:
    """Check the network description `{type: NAME, **options}` of a checkpoint.

    Numbers, short identifiers and lists of them are accepted; paths, URLs and out-of-range numbers are not.

    Raises:
        SrkdError: an option of another kind.
    """
    leaves = _leaves(spec, origin)
    for value in leaves:
        if isinstance(value, str) and not re.fullmatch(rf"[\w+:.-]{{0,{_MAX_TEXT}}}", value):
            raise SrkdError(
                f"{origin}: {printable_path(value[:_MAX_TEXT])!r} is not a valid network option in a checkpoint"
            )
        if isinstance(value, (int, float)) and not abs(value) <= _MAX_INTEGER:  # NaN included
            # Not every integer can be a float or, in one line, be shown.
            shown = f"{value:.4g}" if isinstance(value, float) or abs(value) < 1e300 else "a number above 1e300"
            raise SrkdError(f"{origin}: {shown} is out of range for a network option, limit {_MAX_INTEGER:,}")


def _leaves(value: Any, origin: str, found: list[Any] | None = None, depth: int = 0) -> list[Any]:
    found = [] if found is None else found
    if depth > 8 or len(found) > _MAX_ITEMS:
        raise SrkdError(f"{origin}: its description of the network is too large")
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _leaves(str(key), origin, found, depth + 1)
            _leaves(inner, origin, found, depth + 1)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            _leaves(inner, origin, found, depth + 1)
    elif value is None or isinstance(value, (bool, int, float, str)):
        found.append(value)
    else:
        raise SrkdError(f"{origin}: a {type(value).__name__} is not a valid network option in a checkpoint")
    return found


@contextmanager
def building(state: Mapping[str, Any], origin: str) -> Iterator[None]:
    """Within the block, which builds the network for `state`, limit allocations by the size of `state`.

    Counts parameters, buffers and modules as they are registered, and every tensor before it is allocated.
    Constructors run on the CPU because many fail on torch's `meta` device (they read values back).

    Raises:
        SrkdError: the network is far larger than `state`; replaces whatever the constructor raised because of it.
    """
    tensors = [value for value in state.values() if isinstance(value, Tensor)]
    size = sum(tensor.numel() * max(tensor.element_size(), 4) for tensor in tensors)
    budget = _Budget(_allowed(size), 16 * len(state) + 4096, origin)
    with _BUILDING, ExitStack() as stack:
        for register in (
            hooks.register_module_parameter_registration_hook,
            hooks.register_module_buffer_registration_hook,
            hooks.register_module_module_registration_hook,
        ):
            stack.callback(register(budget.register).remove)
        try:
            with _Allocations(budget):
                yield
        except Exception:
            if budget.exceeded is not None:
                raise budget.exceeded from None
            raise


class _Budget:
    """What a network may still allocate: bytes, and registered parameters, buffers and modules."""

    def __init__(self, size: int, count: int, origin: str) -> None:
        self.size, self.count, self.origin = size, count, origin
        self.exceeded: SrkdError | None = None
        self._registered = 0
        self._thread = threading.get_ident()

    def register(self, module: nn.Module, name: str, value: Any) -> None:
        if threading.get_ident() != self._thread or value is None:
            return
        self.count -= 1
        if isinstance(value, Tensor):
            self._registered += value.numel() * value.element_size()
        if self.count < 0 or self._registered > self.size:
            self.reject()

    def allocate(self, size: int) -> None:
        if size > self.size:
            self.reject()

    def reject(self) -> None:
        self.exceeded = SrkdError(f"{self.origin}: describes a network far larger than its weights; not built")
        raise self.exceeded


class _Allocations(OperatorMode):
    """Charges each tensor to a budget before it is allocated; its size is computed on the `meta` device."""

    def __init__(self, budget: _Budget) -> None:
        super().__init__()
        self.budget = budget

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if not (func._schema.is_mutable or func.is_view):
            self.budget.allocate(_size_of(func, args, kwargs))
        return func(*args, **kwargs)


def _size_of(func: Any, args: Any, kwargs: Any) -> int:
    """Bytes of an operator's outputs; 0 if they depend on values, as for `item`."""
    args, kwargs = tree_map(_on_meta, (args, kwargs))
    if any(argument.name == "device" for argument in func._schema.arguments):
        kwargs = {**kwargs, "device": torch.device("meta")}
    try:
        returned = func(*args, **kwargs)
    except Exception:  # no `meta` implementation, or an error that the operator itself will report
        return 0
    return sum(leaf.numel() * leaf.element_size() for leaf in tree_leaves(returned) if isinstance(leaf, Tensor))


def _on_meta(value: Any) -> Any:
    return value.to("meta") if isinstance(value, Tensor) else value

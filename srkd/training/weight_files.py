"""Detect the format of a weights file from its content, and find the table of tensors in it."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from srkd.errors import SrkdError

Format = Literal["safetensors", "torchscript", "torch"]

# Keys under which tools store the generator's weights; averaged weights first, since they score better.
_TABLES = (
    "params_ema",
    "params-ema",
    "params",
    "g_ema",
    "model_state_dict",
    "state_dict",
    "model",
    "net",
    "netG",
    "net_g",
    "network",
    "network_g",
    "generator",
    "G",
)
_COMPILED = "_orig_mod."  # prefix that torch.compile adds to the names of a wrapped module
_PARALLEL = "module."  # DataParallel, DistributedDataParallel and AveragedModel
_MAX_DEPTH = 8

_LFS = b"version https://git-lfs.github.com/spec/"
_OTHER_FORMATS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"RIFF": "an image or audio file (RIFF)",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file (Keras)",
    b"GGUF": "a GGUF file",
    b"ptrt": "a TensorRT engine",
    b"ftrt": "a TensorRT engine",
    b"\x93NUMPY": "a NumPy array",
    b"7767517": "an ncnn .param file",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"BZh": "a bzip2 archive: unpack it first",
    b"\xfd7zXZ": "an xz archive: unpack it first",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it first",
    b"Rar!": "a RAR archive: unpack it first",
}


def format_of(path: Path) -> Format:
    """The format of a weights file, detected from its content; the suffix is only a hint.

    Raises:
        SrkdError: no such file, a folder, an empty file, or a known other format (a web page, a git-LFS pointer, an
            image, an archive, text), which the message names.
    """
    if not path.is_file():
        raise SrkdError(f"{path}: {'a folder, not a checkpoint' if path.is_dir() else 'no such checkpoint'}")
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise SrkdError(f"{path}: cannot be read: {error.strerror or error}") from error
    if what := _other_format(head):
        raise SrkdError(f"{path}: not a checkpoint but {what}")
    if head[:2] == b"PK":
        return _zip_format(path)
    return "safetensors" if path.suffix.lower() == ".safetensors" or head[8:9] == b"{" else "torch"


def _other_format(head: bytes) -> str | None:
    """Name of the format of a file with these first bytes if it is not a checkpoint; None if it may be one."""
    if not head:
        return "an empty file"
    if head.startswith(_LFS):
        return "a git-LFS pointer: run `git lfs pull`, or download the file itself"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<body", b"<?xml", b"<!--")):
        return "an HTML page, probably a failed download: download the file itself"
    if head[4:8] == b"TFL3":
        return "a LiteRT (TensorFlow Lite) model, whose suffix is .tflite"
    for magic, what in _OTHER_FORMATS.items():
        if head.startswith(magic):
            return what
    return f'text that starts with "{_first_line(head)}"' if _is_text(head) else None


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\n\r\f" for byte in head) and 127 not in head


def _first_line(head: bytes) -> str:
    line = (head.decode("utf-8", "replace").strip().splitlines() or [""])[0]
    return line if len(line) <= 40 else f"{line[:40]}..."


def _zip_format(path: Path) -> Format:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "torch"  # truncated; torch reports it
    if not any(name.endswith("data.pkl") for name in names):
        raise SrkdError(f"{path}: not a checkpoint but a zip archive: unpack it first")
    return "torchscript" if any(name.endswith("/constants.pkl") for name in names) else "torch"


def table_of(loaded: Any, path: Path, key: str | None = None) -> dict[str, Tensor]:
    """The weights by name in the content of a .pth file, under any key and at any depth of nested mappings.

    Values that are not tensors (a step, a learning rate) are left out.

    Args:
        key: the table to use, BasicSR's `param_key_g`; if it is absent, `params` is used, as in BasicSR.

    Raises:
        SrkdError: no weights, no table `key`, or several tables none of which has a common name.
    """
    if key is not None:
        return _named_table(loaded, path, key)
    table = _search(loaded, path, _MAX_DEPTH, {})
    if table is None:
        raise SrkdError(f"{path}: contains no table of weights")
    return table


def _named_table(loaded: Any, path: Path, key: str) -> dict[str, Tensor]:
    names = [name for name in loaded if isinstance(loaded[name], Mapping)] if isinstance(loaded, Mapping) else []
    found = key if key in names else "params"
    if found not in names:
        available = f"available: {', '.join(map(str, names))}" if names else "the weights are at the top level"
        raise SrkdError(f'{path}: contains no table "{key}" (param_key); {available}')
    return table_of(loaded[found], path)


_Table = dict[str, Tensor] | None


def _search(loaded: Any, path: Path, depth: int, searched: dict[tuple[int, int], _Table]) -> _Table:
    """The table in a mapping. `searched` has the results so far: a pickle may refer to one mapping any number of times,
    and searching it each time would take forever."""
    if not isinstance(loaded, Mapping) or depth == 0:
        return None
    place = id(loaded), depth
    if place not in searched:
        searched[place] = _search_inside(loaded, path, depth, searched)
    return searched[place]


def _search_inside(
    loaded: Mapping[Any, Any], path: Path, depth: int, searched: dict[tuple[int, int], _Table]
) -> _Table:
    for name in _TABLES:
        found = _search(loaded.get(name), path, depth - 1, searched)
        if found is not None:
            return found
    own = {str(name): value for name, value in loaded.items() if isinstance(value, Tensor)}
    if any(value.dim() for value in own.values()):
        return own
    tables = {name: _search(value, path, depth - 1, searched) for name, value in loaded.items()}
    found_in = [name for name, table in tables.items() if table is not None]
    if len(found_in) > 1:
        raise SrkdError(
            f"{path}: contains several tables of weights ({', '.join(map(str, found_in))}): choose one with param_key"
        )
    return tables[found_in[0]] if found_in else None


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights under the network's own names, without the prefixes of torch.compile and data parallelism."""
    state = {key.replace(_COMPILED, ""): tensor for key, tensor in state.items()}
    return {key.removeprefix(_PARALLEL): tensor for key, tensor in state.items()}


def candidates(state: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights with unchanged names, then without each prefix that may be the network's in a larger module.

    Such a prefix is common to all names, or one of the usual keys (Lightning's `model.`, where a loss has weights too).
    Counters without the prefix are ignored.
    """
    state = dict(state)
    yield state
    for _ in range(_MAX_DEPTH):
        firsts = {key.partition(".")[0] for key, tensor in state.items() if not is_counter(tensor)}
        shared = firsts.pop() if len(firsts) == 1 else next((name for name in _TABLES if name in firsts), None)
        below = {} if shared is None else _below(state, f"{shared}.")
        if not below:
            return
        state = without_wrappers(below)
        yield state


def _below(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def is_counter(tensor: Tensor) -> bool:
    """Whether a tensor is a single integer, such as a step or batch norm's count, which no forward pass uses."""
    return tensor.numel() == 1 and not tensor.is_floating_point()


def without_counters(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights without counters that tools add (`step`, `n_averaged`); batch norm's own counters stay."""
    return {
        key: tensor
        for key, tensor in state.items()
        if not (is_counter(tensor) and tensor.dim() == 0)
        or (key.endswith("num_batches_tracked") and f"{key.removesuffix('num_batches_tracked')}running_mean" in state)
    }

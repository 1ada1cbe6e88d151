"""Checkpoints: weights with a description of their network, and training states for bit-exact resuming.

Weights are safetensors whose metadata key `srkd` contains JSON: network, scale, colour space, lineage, metrics. A
training state is a torch file of tensors and plain values. Reading either never runs code from the file.
"""

from __future__ import annotations

import json
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from srkd.errors import SrkdError
from srkd.files.atomic import atomic_path
from srkd.safe_load import check_file, check_pickle, check_weights
from srkd.training import torchscript, weight_files

State = dict[str, Tensor]


def save_weights(path: Path, state: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write weights and their description as safetensors, atomically.

    Args:
        state: tensors by parameter name, on any device and in any memory layout.
        meta: plain data; `srkd.load` needs `network` (type and options) and `scale`.
    """
    tensors = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}
    with atomic_path(path) as temporary:
        # Not safetensors' save_file, which makes files readable by their owner only.
        temporary.write_bytes(save(tensors, metadata={"srkd": json.dumps(dict(meta), sort_keys=True)}))


def load_weights(path: Path, key: str | None = None) -> tuple[State, dict[str, Any]]:
    """Read weights from a file of any tool: safetensors, torch (.pth, .pt, .ckpt) or TorchScript, detected by content.

    Weights are found under any key (averaged ones, `params_ema`, first). Prefixes of torch.compile and data parallelism
    are removed from their names, except where srkd wrote them: there `module.` is a part of the network.

    Args:
        key: the table of a .pth to use, BasicSR's `param_key_g`; if it is absent, `params`, as in BasicSR.

    Returns:
        Tensors by name, and the description: {} if the file has none; {"torchscript": True} for TorchScript, whose file
        may contain more tensors than the network's state.

    Raises:
        SrkdError: no such file, truncated, not a checkpoint (the message names a known other format), a pickle with
            more than tensors (never run), or as `safe_load.check_file` and `safe_load.check_weights`.
    """
    path = Path(path)
    file_format = weight_files.format_of(path)
    check_file(path)
    if file_format == "safetensors":
        state, meta = _load_safetensors(path)
    elif file_format == "torchscript":
        state, meta = torchscript.load(path), {"torchscript": True}
    else:
        state, meta = weight_files.table_of(_load_torch(path), path, key), {}
    check_weights(state, path)
    return state if "network" in meta else weight_files.without_wrappers(state), meta


def _load_safetensors(path: Path) -> tuple[State, dict[str, Any]]:
    try:
        # Not memory-mapped: truncating a mapped file would end the process with a bus error.
        data = path.read_bytes()
        state = dict(sorted(load(data).items()))
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        meta = json.loads(header.get("__metadata__", {}).get("srkd", "{}"))
    except (SafetensorError, OSError, ValueError, RuntimeError, MemoryError, RecursionError, OverflowError) as error:
        raise SrkdError(f"{path}: not a complete safetensors file ({_first_line(error)})") from error
    if not isinstance(meta, dict):
        raise SrkdError(f"{path}: its metadata is not a description of a network")
    return state, meta


def _load_torch(path: Path) -> Any:
    check_pickle(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats that weights_only rejects anyway
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise SrkdError(
            f"{path}: contains more than tensors, or is not a checkpoint; it was not run. Convert it to safetensors if "
            "you trust it"
        ) from error
    except Exception as error:  # a damaged file fails anywhere between zip, tar and pickle
        raise SrkdError(f"{path}: truncated or not a checkpoint ({_first_line(error)})") from error


def load_into(network: torch.nn.Module, state: Mapping[str, Tensor], origin: str, strict: bool = True) -> str | None:
    """Load weights into a network; without `strict` only those that match by name and shape.

    Returns:
        A message about skipped weights and parameters that keep their initial values, or None if everything was loaded.

    Raises:
        SrkdError: weights of another network; the message gives the first names that are missing, unexpected, or
            differ in shape or type (integer or floating point). Not strict: no weights match.
    """
    own = network.state_dict()
    state = max(weight_files.candidates(state), key=lambda below: len(own.keys() & below.keys()))
    # Counters may be added by tools, or missing from batch norm, whatever the network.
    missing = [key for key in own if key not in state and not weight_files.is_counter(own[key])]
    unexpected = [key for key in state if key not in own and not weight_files.is_counter(state[key])]
    shapes = {
        key: f"{key} is {tuple(state[key].shape)}, the network's {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    }
    shapes |= {
        key: f"{key} is {state[key].dtype}, the network's {own[key].dtype}"
        for key in own
        if key in state and state[key].is_floating_point() != own[key].is_floating_point()
    }
    matching = {key: tensor for key, tensor in state.items() if key in own and key not in shapes}
    parts = [f"missing {_some(missing)}"] * bool(missing) + [f"unexpected {_some(unexpected)}"] * bool(unexpected)
    if parts + list(shapes) and (strict or not matching):
        kind = type(network).__name__
        raise SrkdError(f"{origin}: not the weights of this {kind}: {'; '.join([*parts, *list(shapes.values())[:2]])}")
    network.load_state_dict(matching, strict=False)
    parts += [f"of another shape or type {_some(list(shapes))}"] * bool(shapes)
    return f"{origin}: loaded {len(matching)} of {len(own)} weights; {'; '.join(parts)}" if parts else None


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write training state (tensors, numbers, text, lists and mappings of them) atomically."""
    with atomic_path(path) as temporary:
        try:
            torch.save(dict(state), temporary)
        except RuntimeError as error:  # torch gives no reason; the usual one is a full disk
            raise SrkdError(f"cannot write {path}: {_first_line(error)}; is the disk full?") from error


def load_state(path: Path) -> dict[str, Any]:
    """Read training state.

    Raises:
        SrkdError: as `load_weights`.
    """
    if not Path(path).is_file():
        raise SrkdError(f"{path}: no such training state")
    check_file(Path(path))
    loaded = _load_torch(Path(path))
    if not isinstance(loaded, dict) or "step" not in loaded:
        raise SrkdError(f"{path}: not a training state of srkd")
    return loaded


def random_state() -> dict[str, Any]:
    """State of torch's random generators, which a step may use."""
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def restore_random_state(state: Mapping[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])

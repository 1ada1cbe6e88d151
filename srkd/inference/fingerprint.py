"""The key of cached measurements and of unfinished work: network, weights, processor, threads and package versions."""

from __future__ import annotations

import hashlib
import platform
from typing import TYPE_CHECKING, Any

import numpy as np

from srkd.inference.model import Model
from srkd.machine import threads
from srkd.training.precision import cpu_flags

if TYPE_CHECKING:
    import torch
    from torch import nn

_SIDE = 32
_PACKAGES = ("srkd", "torch", "openvino", "nncf", "onnxruntime")


def fingerprint(model: Model) -> str:
    """32 hexadecimal digits that change with the network, its weights, the processor, threads or package versions.

    Of an exported file, the output for one image stands for the network and its weights.
    """
    digest = hashlib.sha256()
    if model.has_network:
        _add_network(digest, model)
    else:
        digest.update(model(np.random.default_rng(0).integers(0, 256, (1, _SIDE, _SIDE, 3), np.uint8)).tobytes())
    device = model.device.type if model.has_network else "cpu"
    digest.update("\n".join([processor(), str(threads()), device, *versions()]).encode())
    return digest.hexdigest()[:32]


def _add_network(digest: hashlib._Hash, model: Model) -> None:
    for name, module in model.network.named_modules():
        digest.update(f"{name} {type(module).__name__} {_options(module)}\n".encode())
    for name, value in (*model.network.named_parameters(), *model.network.named_buffers()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(_raw(value))


def _options(module: nn.Module) -> list[tuple[str, Any]]:
    """Attributes that change a module's function besides its tensors, such as img_range of EDSR."""
    plain = (bool, int, float, str, tuple)
    return sorted((key, value) for key, value in vars(module).items() if key[0] != "_" and isinstance(value, plain))


def _raw(value: torch.Tensor) -> bytes:
    # Flattened first: view(uint8) rejects a scalar (batch norm's counter), and a 1x1 kernel in channels last, whose
    # last stride is not 1 although it is contiguous.
    import torch

    return value.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def processor() -> str:
    """The processor's name and features."""
    lines = {line for line in cpu_flags().splitlines() if line.startswith(("model name", "flags"))}
    return "\n".join(sorted(lines)) or platform.processor()


def versions() -> list[str]:
    """The versions of the packages that an engine depends on."""
    return [_version(name) for name in _PACKAGES]


def _version(package: str) -> str:
    from importlib.metadata import PackageNotFoundError, version  # some 20 ms

    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"

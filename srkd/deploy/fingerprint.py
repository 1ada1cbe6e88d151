"""What a measurement holds for: the weights, the processor, the number of threads, the versions of what computes."""

from __future__ import annotations

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from srkd.deploy.model import Model

_PACKAGES = ("srkd", "torch", "openvino", "nncf", "onnxruntime")


def fingerprint(model: Model) -> str:
    """32 hexadecimal digits, another for any change of what this file's first line names."""
    digest = hashlib.sha256()
    for name, value in model.network.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    machine = [_processor(), str(torch.get_num_threads()), model.device.type, *(_version(name) for name in _PACKAGES)]
    digest.update("\n".join(machine).encode())
    return digest.hexdigest()[:32]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return "\n".join(sorted({line for line in lines if line.startswith(("model name", "flags"))}))


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"

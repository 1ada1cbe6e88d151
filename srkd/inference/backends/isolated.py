"""Conversion in a process of its own: `python -m srkd.inference.backends.isolated`, which an exporter may bring down.

torch's exporter ends the whole process with some networks (spandrel's SPAN: a segmentation fault). srkd's own networks
are converted where they are, which is some seconds faster.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srkd.errors import SrkdError
from srkd.inference.backends.engine import CannotRunError
from srkd.trust import environment

_OWN = ("srkd", "torch")
_MODULES = {"onnxruntime": "srkd.inference.backends.onnx", "openvino": "srkd.inference.backends.openvino"}
_SUFFIXES = {"onnxruntime": ".onnx", "openvino": ".xml"}


def needed(graph: nn.Module) -> bool:
    """Whether a graph has parts of others, of which it is not known that exporters survive them."""
    return any(type(module).__module__.split(".")[0] not in _OWN for module in graph.modules())


def convert(graph: nn.Module, runtime: str, facts: Mapping[str, Any]) -> Any:
    """As the `convert` of a runtime's module, in another process; here where the graph cannot be sent there.

    Raises:
        CannotRunError: as there; or the process was ended by its exporter.
    """
    module = importlib.import_module(_MODULES[runtime])
    with tempfile.TemporaryDirectory() as folder:
        asked, made, refused = (Path(folder) / name for name in ("graph.pt", f"made{_SUFFIXES[runtime]}", "refused"))
        try:
            torch.save((graph, runtime, dict(facts)), asked)
        except Exception:  # classes of functions and lambdas cannot be named to another process
            return module.convert(graph, facts)
        code = _child(asked, made, refused)
        if made.is_file() and code == 0:
            return module.load(made)[0]
        if refused.is_file():
            raise CannotRunError(refused.read_text(encoding="utf-8"))
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        raise CannotRunError(f"{runtime} cannot take this network: the exporter's process {ended}; use another runtime")


def _child(*paths: Path) -> int:
    command = [sys.executable, "-m", __name__, *map(str, paths)]
    paths_of_modules = os.pathsep.join(path or os.getcwd() for path in sys.path)
    variables = {**environment(), "PYTHONPATH": paths_of_modules}
    return subprocess.run(command, env=variables, capture_output=True, check=False).returncode


def _main(asked: Path, made: Path, refused: Path) -> None:
    try:
        from srkd.integrations.torchvision_compat import import_torchvision

        import_torchvision()  # before a network of spandrel's does
    except (ImportError, RuntimeError):
        pass
    # Written by the process that started this one, into a folder of its own.
    graph, runtime, facts = torch.load(asked, weights_only=False)
    module = importlib.import_module(_MODULES[runtime])
    try:
        module.save(module.convert(graph, facts), made)
    except SrkdError as error:
        refused.write_text(str(error), encoding="utf-8")


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))

"""Conversion to ONNX in a subprocess, `python -m srkd.inference.backends.isolated`, so that a crash does not end srkd.

torch's exporter crashes with some networks (spandrel's SPAN: a segmentation fault). srkd's own networks are converted
in the same process, which is some seconds faster.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srkd.errors import SrkdError
from srkd.inference.backends import onnx
from srkd.inference.backends.engine import CannotRunError
from srkd.trust import environment

if TYPE_CHECKING:
    from torch import nn

_OWN = ("srkd", "torch")


def is_needed(graph: nn.Module) -> bool:
    """Whether a graph has modules of other packages, which may crash an exporter."""
    return any(type(module).__module__.split(".")[0] not in _OWN for module in graph.modules())


def convert(graph: nn.Module, facts: Mapping[str, Any]) -> Any:
    """As `onnx.convert`, in a subprocess; in this process if the graph cannot be pickled.

    Raises:
        CannotRunError: as `onnx.convert`; or the exporter crashed.
    """
    import torch

    with tempfile.TemporaryDirectory() as folder:
        request, result, message = (Path(folder) / name for name in ("graph.pt", "model.onnx", "error"))
        try:
            torch.save((graph, dict(facts)), request)
        except Exception:  # local classes and lambdas cannot be pickled
            return onnx.convert(graph, facts)
        code = _run_subprocess(request, result, message)
        if result.is_file() and code == 0:
            return onnx.load(result)[0]
        if message.is_file():
            raise CannotRunError(message.read_text(encoding="utf-8"))
        ended = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        raise CannotRunError(f"ONNX cannot represent this network: the exporter's process {ended}; use another runtime")


def _run_subprocess(*paths: Path) -> int:
    command = [sys.executable, "-m", __name__, *map(str, paths)]
    module_paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    variables = {**environment(), "PYTHONPATH": module_paths}
    return subprocess.run(command, env=variables, capture_output=True, check=False).returncode


def _main(request: Path, result: Path, message: Path) -> None:
    import torch

    try:
        from srkd.integrations.torchvision_compat import import_torchvision

        import_torchvision()  # before spandrel imports it
    except (ImportError, RuntimeError):
        pass
    # Safe to unpickle: written by the parent process into its own temporary folder.
    graph, facts = torch.load(request, weights_only=False)
    try:
        onnx.save(onnx.convert(graph, facts), result)
    except SrkdError as error:
        message.write_text(str(error), encoding="utf-8")


if __name__ == "__main__":
    _main(*map(Path, sys.argv[1:]))

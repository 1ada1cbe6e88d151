"""Teachers of outputs: anything that upscales an 8-bit image, whether or not its network is known.

Known networks (of the zoo, or recognised in a checkpoint, ncnn's `.param` included) run on the fastest runtime at
hand; any other `.onnx` and `.param` file runs on onnxruntime or ncnn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from srkd.errors import SrkdError
from srkd.files.atomic import printable_path
from srkd.files.digest import file_sha256
from srkd.inference import backends
from srkd.inference.backends import ncnn, onnx
from srkd.inference.backends.engine import as_bytes, as_floats, in_one_line, require
from srkd.inference.checkpoints import build_or_load
from srkd.inference.loading import load_model
from srkd.inference.model import Model
from srkd.networks import zoo
from srkd.safe_load import check_file
from srkd.sr.teacher_cache import network_hash
from srkd.training.precision import bf16_is_fast

Upscale = Callable[[np.ndarray], np.ndarray]
_SIDE = 32  # of the image on which the scale of an unknown network is measured


@dataclass(frozen=True)
class OutputTeacher:
    """`teacher(pixels)`: uint8 RGB (N, H, W, 3) to uint8 (N, scale H, scale W, 3).

    Args:
        digest: identifies its weights.
        start: starts its runtime, which takes seconds, when an output is first needed.
    """

    name: str
    scale: int
    digest: str
    start: Callable[[], Upscale]

    @cached_property
    def _running(self) -> Upscale:
        return self.start()

    @property
    def runtime(self) -> str:
        """The name of what computes its outputs, such as `openvino bf16`."""
        return " ".join(self._running.backend) if isinstance(self._running, Model) else str(self._running)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Raises SrkdError if the network fails, or its output has another size."""
        output = self._running(np.require(pixels, requirements=["C", "W"]))  # torch warns of read-only arrays
        expected = (len(pixels), *(side * self.scale for side in pixels.shape[1:3]), 3)
        if output.shape != expected:
            raise SrkdError(f"{self.name}: its output is {output.shape}, expected {expected}")
        return output


def open_teacher(
    spec: Mapping[str, Any], device: torch.device | str = "cpu", student_scale: int | None = None
) -> OutputTeacher:
    """A recipe's `network_g_teacher`: `{zoo: name}` or `{file: path}`, a checkpoint, `.onnx` or ncnn `.param`.

    Args:
        student_scale: a scale of which the teacher's must be a multiple; None: any.

    Raises:
        SrkdError: another specification or scale; as `srkd.inference.loading.load_model`; an ONNX or ncnn file that
            does not upscale RGB images in [0, 1], or whose runtime is not installed.
    """
    if "zoo" in spec:
        _check_multiple(spec["zoo"], zoo.scale_of(spec["zoo"]), student_scale)  # before it is downloaded
    teacher = _opened(spec, device)
    _check_multiple(teacher.name, teacher.scale, student_scale)
    return teacher


def _check_multiple(name: str, scale: int | None, student_scale: int | None) -> None:
    if scale is not None and student_scale is not None and scale % student_scale:
        raise SrkdError(
            f"network_g_teacher: {name} is a network for x{scale}, which is not a multiple of x{student_scale}"
        )


def _opened(spec: Mapping[str, Any], device: torch.device | str) -> OutputTeacher:
    if set(spec) == {"file"}:
        path = Path(str(spec["file"]))
        suffix = path.suffix.lower()
        if suffix in (".onnx", ".param"):
            for each in [path] if suffix == ".onnx" else [path, path.with_suffix(".bin")]:
                if not each.is_file():
                    raise SrkdError(f"network_g_teacher: {printable_path(each)}: not found")
            if _is_own_export(path):
                return _of_export(path)
            return _of_onnx(path) if suffix == ".onnx" else _of_ncnn(path, device)
    elif set(spec) != {"zoo"}:
        raise SrkdError(f"network_g_teacher: must be {{zoo: name}} or {{file: path}}, got {dict(spec)}")
    return of_network(build_or_load(spec, None, "network_g_teacher"), device)


def of_network(model: Model, device: torch.device | str = "cpu") -> OutputTeacher:
    """A teacher from a torch network.

    On a CPU it runs on OpenVINO if that is installed and can represent the network, otherwise on torch; in bf16 where
    that is fast, since its rounding is below that of an 8-bit output.
    """

    def start() -> Upscale:
        kind = torch.device(device).type
        precision = "bf16" if bf16_is_fast(kind) else "fp32"
        model.network.to(device)
        if kind == "cpu" and backends.installed("openvino"):
            try:
                return backends.open_engine(model, "openvino", precision)
            except backends.CannotRunError:
                pass
        return backends.open_engine(model, "torch", precision)

    return OutputTeacher(model.name, model.scale, network_hash(model.network), start)


class _Runtime:
    """A network on a runtime of its own: float32 (3, H, W) in [0, 1] to (3, s H, s W)."""

    def __init__(self, name: str, run: Upscale) -> None:
        self.name, self.run = name, run

    def __str__(self) -> str:
        return self.name

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        with in_one_line(f"{self.name} cannot run this network at {pixels.shape[2]}x{pixels.shape[1]}"):
            return as_bytes(np.stack([np.asarray(self.run(image), np.float32) for image in as_floats(pixels)]))


def _is_own_export(path: Path) -> bool:
    """Whether a file has srkd's facts, in it or beside it: then a changed one must not run as any other network."""
    suffix = path.suffix.lower()
    return ncnn.is_export(path) if suffix == ".param" else suffix == ".onnx" and onnx.is_export(path)


def _of_export(path: Path) -> OutputTeacher:
    """A file that `srkd export` wrote. Raises SrkdError if it was changed or is incomplete."""
    model, files = backends.open_file(path), backends.files_of(path)[:2]  # with its weights
    return OutputTeacher(path.stem, model.scale, "".join(map(_digest, files)), lambda: model)


def _of_onnx(path: Path) -> OutputTeacher:
    check_file(path)
    runtime = _Runtime("onnxruntime", _onnx_session(path))
    digest = "".join(map(_digest, [path, *onnx.external_files(path)]))
    return OutputTeacher(path.stem, _scale(runtime, path), digest, lambda: runtime)


def _onnx_session(path: Path) -> Upscale:
    runtime = require("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with in_one_line(f"{printable_path(path)}: onnxruntime cannot read it"):
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs, outputs = session.get_inputs(), session.get_outputs()
    kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
    if len(inputs) != 1 or len(outputs) != 1 or inputs[0].type not in kinds or len(inputs[0].shape) != 4:
        raise SrkdError(
            f"{printable_path(path)}: a teacher has one input (N, 3, H, W) of floats and one output, this file has "
            f"{[(i.type, i.shape) for i in inputs]} and {len(outputs)} outputs"
        )
    name, kind = inputs[0].name, kinds[inputs[0].type]
    return lambda image: session.run(None, {name: image[None].astype(kind)})[0][0]


def _of_ncnn(path: Path, device: torch.device | str) -> OutputTeacher:
    from srkd.integrations.ncnn import NcnnNetwork

    try:
        return of_network(load_model(path), device)  # faster than ncnn, which has no bf16 on most CPUs
    except SrkdError as known:
        weights = path.with_suffix(".bin")
        try:
            check_file(weights)
            runtime = _Runtime("ncnn", NcnnNetwork(path, weights, torch.get_num_threads()))
        except SrkdError as error:
            raise SrkdError(f"{known}; nor does it run on ncnn: {error}") from error
        return OutputTeacher(path.stem, _scale(runtime, path), f"{_digest(path)}{_digest(weights)}", lambda: runtime)


def _digest(path: Path) -> str:
    return file_sha256(path)[:16]


def _scale(runtime: _Runtime, path: Path) -> int:
    """The scale of an unknown network, measured on a smooth image.

    Raises:
        SrkdError: its output is not that image at an integer multiple of its size.
    """
    ramp = np.linspace(0.25, 0.75, _SIDE, dtype=np.float32)
    image = np.broadcast_to(ramp, (3, _SIDE, _SIDE)) * np.array([1, 0.8, 0.6], np.float32)[:, None, None]
    with in_one_line(f"{printable_path(path)}: {runtime} cannot run it on an image of {_SIDE}x{_SIDE}"):
        output = np.asarray(runtime.run(np.ascontiguousarray(image)), np.float32)
    scale = output.shape[-1] // _SIDE if output.ndim == 3 else 0
    if scale < 1 or output.shape != (3, _SIDE * scale, _SIDE * scale):
        raise SrkdError(f"{printable_path(path)}: upscales an RGB image of {image.shape} to {output.shape}")
    error = float(np.abs(output.mean((1, 2)) - image.mean((1, 2))).max())
    if not error < 0.1:
        raise SrkdError(
            f"{printable_path(path)}: does not return the colours of its input (off by {error:.2f}); a teacher takes "
            "and returns RGB in [0, 1]"
        )
    return scale

"""OpenVINO: fp32, bf16 and int8 on CPUs."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from srkd.errors import SrkdError
from srkd.inference.backends.engine import (
    MOST_NUMBERS,
    Bytes,
    CannotRunError,
    Engine,
    as_bytes,
    as_floats,
    lacking,
    not_exported,
    require,
)
from srkd.machine import threads
from srkd.training.precision import bf16_is_fast, cpu_flags, int8_saturates

if TYPE_CHECKING:
    from torch import nn

PRECISIONS = ("fp32", "bf16", "int8")
_SHAPES = 4
# Not quantised: the additions of the trunk, and the preprocessing of the uint8 pixels.
_NOT_QUANTISED = ["Add", "Subtract", "Multiply", "Divide"]
_KEY = "srkd"


def convert(graph: nn.Module, facts: Mapping[str, Any]) -> Any:
    """Convert a graph (`srkd.inference.graph`) to an OpenVINO model of dynamic batch, height and width with its facts.

    Raises:
        SrkdError: OpenVINO is not installed, or lacks an operator of this network, which is named.
    """
    import torch

    from srkd.inference.graph import Uint8Graph, example

    openvino = require("openvino")
    uint8 = isinstance(graph, Uint8Graph)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # from torch's tracing, which OpenVINO uses
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # sizes as constants: see `check_sizes`
            image = example(uint8, facts.get("multiple", 1), facts.get("minimum", 1))
            model = openvino.convert_model(graph, example_input=image)
        model.reshape([-1, -1, -1, 3] if uint8 else [-1, 3, -1, -1])
        model.input(0).get_tensor().set_names({"pixels" if uint8 else "picture"})
        model.output(0).get_tensor().set_names({"upscaled"})
    except Exception as error:  # OpenVINO raises many exception classes, not all of them public
        why = lacking(error)
        raise CannotRunError(f"OpenVINO cannot represent this network: {why}; use torch or ONNX Runtime") from error
    return describe(model, facts)


def describe(model: Any, facts: Mapping[str, Any]) -> Any:
    """The model with these facts in its metadata."""
    model.set_rt_info(json.dumps(dict(facts)), _KEY)
    return model


def facts_of(model: Any) -> dict[str, Any]:
    """The facts of a model. Raises an exception of any class if it has none."""
    return dict(json.loads(model.get_rt_info(_KEY).astype(str)))


def quantise(model: Any, images: Sequence[Bytes], keep: Collection[str] = ()) -> Any:
    """Static int8 by NNCF: inputs of convolutions per tensor, weights per channel.

    Activation ranges are the minimum and maximum over all images: NNCF's default, means over images, clips the
    brightest and darkest pixels (0.8 dB of a small EDSR). Weights use 8 bits if the CPU's sums do not overflow; NNCF's
    default of 7 in the first layer costs 0.1 dB. If they do overflow, all layers have 7 bits: with 7 in the first layer
    alone, others overflowed by up to 30 levels. The additions of the trunk are not quantised, which costs no time.
    NNCF's bias correction loses 0.05 dB and is disabled.

    Args:
        images: uint8 (H, W, 3), LR.
        keep: layers (`srkd.inference.graph.layers`) that are not quantised.
    """
    nncf = require("nncf")
    nncf.set_log_level(logging.ERROR)
    ranges = require("nncf.quantization.range_estimator").RangeEstimatorParametersSet.MINMAX
    bits = nncf.OverflowFix.ENABLE if int8_saturates() else nncf.OverflowFix.DISABLE
    names = [op.friendly_name for op in model.get_ops()]
    kept = [name for name in names if any(name.startswith(f"__module.{layer}/") for layer in keep)]
    uint8 = model.input(0).element_type == require("openvino").Type.u8
    inputs = [image[None] if uint8 else as_floats(image[None]) for image in images]
    with contextlib.redirect_stdout(io.StringIO()):  # NNCF prints progress bars
        result = nncf.quantize(
            model,
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            target_device=nncf.TargetDevice.CPU,
            ignored_scope=nncf.IgnoredScope(names=kept, types=_NOT_QUANTISED, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges, disable_bias_correction=True, overflow_fix=bits
            ),
        )
    result.set_rt_info(model.get_rt_info(_KEY).astype(str), _KEY)
    return result


def int8_is_sound() -> bool:
    """Whether OpenVINO's int8 is correct here: not if oneDNN is configured to ignore the processor's AVX-512.

    OpenVINO still detects it, and the two (2026.4, ONEDNN_MAX_CPU_ISA=AVX2) then crash or give images that are off by
    240 levels. Processors without AVX-512 are not affected.
    """
    return "avx512f" in cpu_flags() or "avx512f" not in cpu_flags(capped=False)


class OpenVinoEngine(Engine):
    """An OpenVINO model on the CPU. An input size that occurs twice is compiled separately, which is some 15 % faster.

    In int8 with AMX every size is compiled separately from the start: OpenVINO's dynamic kernels crash on small images
    (https://github.com/openvinotoolkit/openvino/issues/37577).

    Raises:
        SrkdError: int8 if `int8_is_sound` is false.
    """

    runtime = "openvino"

    def __init__(self, model: Any, precision: str, scale: int) -> None:
        super().__init__(precision, scale)
        openvino = require("openvino")
        if precision == "int8" and not int8_is_sound():
            raise SrkdError("OpenVINO's int8 fails with ONEDNN_MAX_CPU_ISA below AVX512_CORE: unset it, or use fp32")
        self.model, self._core = model, openvino.Core()
        self._uint8 = model.input(0).element_type == openvino.Type.u8
        reduced = precision == "bf16" or (precision == "int8" and bf16_is_fast("cpu"))
        self._options = {
            "INFERENCE_PRECISION_HINT": "bf16" if reduced else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads(),
        }
        self._each_size = precision == "int8" and "amx_int8" in cpu_flags()
        self._any_size = self._request(model)
        self._seen: set[tuple[int, ...]] = set()
        self._sized: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def _request(self, model: Any) -> Any:
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()

    def _run(self, pixels: Bytes) -> Bytes:
        return self._outputs(pixels) if self._uint8 else as_bytes(self._outputs(as_floats(pixels)))

    def _run_floats(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        return super()._run_floats(x) if self._uint8 else self._outputs(x).copy()

    def _outputs(self, x: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = self._for(x.shape).infer({0: x}, share_inputs=True)[0]
        return result

    def _for(self, shape: tuple[int, ...]) -> Any:
        if shape not in self._seen and not self._each_size:
            self._seen.add(shape)
            return self._any_size
        if shape not in self._sized:
            fixed = self.model.clone()
            fixed.reshape(list(shape))
            self._sized[shape] = self._request(fixed)
        self._sized.move_to_end(shape)
        if len(self._sized) > _SHAPES:
            self._sized.popitem(last=False)
        return self._sized[shape]


def save(model: Any, path: Path) -> None:
    """Write `path` (.xml) and the weights beside it (.bin), which must not be in use."""
    require("openvino").save_model(model, path, compress_to_fp16=False)


def _check_constants(model: Any) -> None:
    """Raise ValueError for a tensor of fixed size that is too large: a small file can request terabytes."""
    for operator in model.get_ops():
        for output in operator.outputs():
            shape = output.get_partial_shape()
            if shape.is_static and math.prod(shape.to_shape()) > MOST_NUMBERS:
                raise ValueError(f"{operator.get_friendly_name()} has shape {shape}")


def read(path: Path) -> Any:
    """A model in any format that OpenVINO reads, such as .xml and .onnx. Raises an exception of any class."""
    model = require("openvino").Core().read_model(path)
    _check_constants(model)
    return model


def load(path: Path) -> tuple[Any, dict[str, Any]]:
    """An OpenVINO model that srkd wrote, and its facts. Raises SrkdError for any other file."""
    require("openvino")
    writer = ""
    try:
        model = read(path)
        if not model.has_rt_info(_KEY):
            version = model.get_rt_info("Runtime_version").astype(str) if model.has_rt_info("Runtime_version") else ""
            writer = f"another program with OpenVINO {version}"
        return model, facts_of(model)
    except Exception as error:
        raise not_exported(path, "an OpenVINO model", writer) from error

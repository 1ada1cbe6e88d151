"""OpenVINO: fp32, bf16 and int8 on CPUs."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import math
import re
import warnings
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from srkd.errors import SrkdError
from srkd.inference.backends.engine import (
    MOST_NUMBERS,
    Bytes,
    CannotRunError,
    Engine,
    as_bytes,
    as_floats,
    reason,
    require,
)
from srkd.inference.graph import Uint8Graph, example
from srkd.training.precision import bf16_is_fast, cpu_flags, int8_saturates

PRECISIONS = ("fp32", "bf16", "int8")
_SHAPES = 4
# int8 leaves these as they are: the trunk's additions, and what is done to the pixels on their way in, which are bytes.
_EXACT = ["Add", "Subtract", "Multiply", "Divide"]
_KEY = "srkd"


def convert(graph: nn.Module, facts: Mapping[str, Any]) -> Any:
    """A graph (`srkd.inference.graph`) as an OpenVINO model of any batch, height and width that carries its facts.

    Raises:
        SrkdError: OpenVINO is not installed, or lacks an operator of this network, which is named.
    """
    openvino = require("openvino")
    uint8 = isinstance(graph, Uint8Graph)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # torch's, of the tracing that OpenVINO asks it for
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # of sizes taken for constants: tried out later
            image = example(uint8, facts.get("multiple", 1), facts.get("minimum", 1))
            model = openvino.convert_model(graph, example_input=image)
        model.reshape([-1, -1, -1, 3] if uint8 else [-1, 3, -1, -1])
        model.input(0).get_tensor().set_names({"pixels" if uint8 else "picture"})
        model.output(0).get_tensor().set_names({"upscaled"})
    except Exception as error:  # its own exceptions are of many kinds, and not all of them are public
        said = _lacking(error)
        raise CannotRunError(f"OpenVINO cannot take this network: {said}; use torch or ONNX Runtime") from error
    model.set_rt_info(json.dumps(dict(facts)), _KEY)
    return model


def _lacking(error: Exception) -> str:
    names = sorted(set(re.findall(r"(?:aten|prim|torchvision)::\w+", str(error))))
    return f"it lacks {', '.join(names)}" if names else reason(error)


def quantise(model: Any, images: Sequence[Bytes], keep: Collection[str] = ()) -> Any:
    """Static int8 by NNCF: the convolutions' inputs by tensor, their weights by channel.

    Ranges are those of the largest values seen: NNCF's usual ones, means over images, cut the brightest and darkest
    pixels off (0.8 dB of a small EDSR). Weights use all of their 8 bits where the CPU's sums do not overflow; NNCF's
    usual 7 in the first layer cost 0.1 dB. Where they do, all layers' have 7: with 7 in the first layer alone, others
    overflowed by up to 30 levels. The trunk's additions stay as they are, which costs no time. NNCF's bias
    correction loses 0.05 dB there and is left out.

    Args:
        images: uint8 (H, W, 3), LR.
        keep: layers (`srkd.inference.graph.layers`) that stay as they are.
    """
    nncf = require("nncf")
    nncf.set_log_level(logging.ERROR)
    ranges = require("nncf.quantization.range_estimator").RangeEstimatorParametersSet.MINMAX
    bits = nncf.OverflowFix.ENABLE if int8_saturates() else nncf.OverflowFix.DISABLE
    names = [op.friendly_name for op in model.get_ops()]
    kept = [name for name in names if any(name.startswith(f"__module.{layer}/") for layer in keep)]
    uint8 = model.input(0).element_type == require("openvino").Type.u8
    inputs = [image[None] if uint8 else as_floats(image[None]) for image in images]
    with contextlib.redirect_stdout(io.StringIO()):  # its progress bars
        result = nncf.quantize(
            model,
            nncf.Dataset(inputs),
            subset_size=len(inputs),
            target_device=nncf.TargetDevice.CPU,
            ignored_scope=nncf.IgnoredScope(names=kept, types=_EXACT, validate=False),
            advanced_parameters=nncf.AdvancedQuantizationParameters(
                activations_range_estimator_params=ranges, disable_bias_correction=True, overflow_fix=bits
            ),
        )
    result.set_rt_info(model.get_rt_info(_KEY).astype(str), _KEY)
    return result


def int8_is_sound() -> bool:
    """Whether OpenVINO computes int8 rightly here: not where oneDNN is told to leave out an AVX-512 that there is.

    OpenVINO itself goes on seeing it, and the two (2026.4, ONEDNN_MAX_CPU_ISA=AVX2) then crash or give images that are
    off by 240 levels. A processor without AVX-512 is no such case.
    """
    return "avx512f" in cpu_flags() or "avx512f" not in cpu_flags(capped=False)


class OpenVinoEngine(Engine):
    """An OpenVINO model. A size that comes a second time is compiled for itself, which is some 15 % faster.

    In int8 with AMX each size is, at once: there OpenVINO's kernels for any size crash on small images
    (https://github.com/openvinotoolkit/openvino/issues/37577).

    Raises:
        SrkdError: int8 where that is not sound.
    """

    runtime = "openvino"

    def __init__(self, model: Any, precision: str, facts: Mapping[str, Any]) -> None:
        super().__init__(precision, facts)
        openvino = require("openvino")
        if precision == "int8" and not int8_is_sound():
            raise SrkdError("OpenVINO's int8 fails with ONEDNN_MAX_CPU_ISA below AVX512_CORE: unset it, or take fp32")
        self.model, self._core = model, openvino.Core()
        self._uint8 = model.input(0).element_type == openvino.Type.u8
        reduced = precision == "bf16" or (precision == "int8" and bf16_is_fast("cpu"))
        self._options = {
            "INFERENCE_PRECISION_HINT": "bf16" if reduced else "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._each_size = precision == "int8" and "amx_int8" in cpu_flags()
        self._any_size = self._request(model)
        self._seen: set[tuple[int, ...]] = set()
        self._sized: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def _request(self, model: Any) -> Any:
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()

    def _run(self, pixels: Bytes) -> Bytes:
        x = pixels if self._uint8 else as_floats(pixels)
        result = self._for(x.shape).infer({0: x}, share_inputs=True)[0]
        return result if self._uint8 else as_bytes(result)

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
    """Raise ValueError for a value of known size that is too large: a shape of two numbers can ask for terabytes."""
    for operator in model.get_ops():
        for output in operator.outputs():
            shape = output.get_partial_shape()
            if shape.is_static and math.prod(shape.to_shape()) > MOST_NUMBERS:
                raise ValueError(f"{operator.get_friendly_name()} of {shape}")


def load(path: Path) -> tuple[Any, dict[str, Any]]:
    """An OpenVINO model that srkd wrote, and its facts. Raises SrkdError for any other file."""
    openvino = require("openvino")
    try:
        model = openvino.Core().read_model(path)
        _check_constants(model)
        return model, json.loads(model.get_rt_info(_KEY).astype(str))
    except Exception as error:
        raise SrkdError(f"{path}: not an OpenVINO model that srkd exported, or not whole") from error

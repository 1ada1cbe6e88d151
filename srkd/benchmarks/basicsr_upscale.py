"""Upscaling speed of BasicSR itself, with the functions that its inference scripts call.

Runs in a subprocess, because srkd changes the allocator's settings in this process, which speeds up any eager code.
"""

from __future__ import annotations

import importlib
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from srkd.integrations import basicsr


@contextmanager
def stock_process() -> Iterator[ProcessPoolExecutor]:
    """A subprocess with the default settings of torch and the allocator, for the functions below."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        yield pool


def upscale_folder(spec: Mapping[str, Any], weights: str, files: Sequence[Path], output: Path) -> float:
    """Upscale images one after the other in fp32: `cv2.imread`, `img2tensor`, the network, `tensor2img`, `cv2.imwrite`.
    Returns the seconds without loading the network.

    Args:
        spec: one of BasicSR's networks, `{type, **options}`.
        weights: path of its weights as safetensors.
    """
    import cv2

    network = _network(tuple(sorted(spec.items())), weights)
    basicsr.package()
    convert = importlib.import_module("basicsr.utils.img_util")
    output.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    for file in files:
        image = cv2.imread(str(file), cv2.IMREAD_COLOR)
        assert image is not None
        tensor = convert.img2tensor(image.astype(np.float32) / 255.0, bgr2rgb=True, float32=True)[None]
        with torch.no_grad():
            result = network(tensor)
        cv2.imwrite(str(output / f"{file.stem}.png"), convert.tensor2img(result))
    return time.perf_counter() - began


def latency_ms(spec: Mapping[str, Any], weights: str, height: int, width: int, passes: int) -> float:
    """Median milliseconds of one eager forward pass, NCHW, fp32."""
    network = _network(tuple(sorted(spec.items())), weights)
    x = torch.rand(1, 3, height, width)
    times = []
    with torch.no_grad():
        network(x)
        for _ in range(passes):
            began = time.perf_counter()
            network(x)
            times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times)


@cache
def _network(spec: tuple[tuple[str, Any], ...], weights: str) -> nn.Module:
    from srkd.training.checkpoint import load_weights

    options = dict(spec)
    network = basicsr.network(options.pop("type"), **{"num_in_ch": 3, "num_out_ch": 3} | options).eval()
    network.load_state_dict(load_weights(Path(weights))[0])
    return network

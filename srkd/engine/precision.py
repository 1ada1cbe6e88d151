"""Which reduced precisions pay on this machine. Half precision (fp16) never does on a CPU and is not offered."""

from __future__ import annotations

import platform
import re
from functools import cache
from pathlib import Path

import torch


@cache
def bf16_is_fast(device: str) -> bool:
    """Whether a device of this type ("cpu", "cuda") multiplies bfloat16 faster than float32.

    On a CPU that takes AVX512-BF16 or AMX.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    flags = cpu_flags()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def int8_saturates() -> bool:
    """Whether sums of int8 products overflow here: on an x86 CPU without VNNI or AMX two are added in 16 bits."""
    has_vnni = re.search(r"\b(avx512_vnni|avx_vnni|amx_int8)\b", cpu_flags())
    return platform.machine() in ("x86_64", "AMD64") and not has_vnni


def cpu_flags() -> str:
    """The text that has the processor's features in it as words; empty where there is none."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""

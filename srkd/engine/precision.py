"""Whether bfloat16 pays on this machine. Half precision (fp16) never does on a CPU and is not offered."""

from __future__ import annotations

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
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags

"""Which reduced precisions are fast on this machine. fp16 is slow on CPUs and is not supported."""

from __future__ import annotations

import os
import platform
import re
from functools import cache
from pathlib import Path

# CPU features excluded by each value of ONEDNN_MAX_CPU_ISA, see
# https://uxlfoundation.github.io/oneDNN/dev_guide_cpu_dispatcher_control.html
_AMX = r"\bamx_\w+"
_BF16 = rf"{_AMX}|\bavx512_(bf16|fp16)\b"
_VNNI = rf"{_BF16}|\bavx512_vnni\b|\bavx_vnni\w*"
_EXCLUDED = {
    "AVX512_CORE_FP16": _AMX,
    "AVX512_CORE_BF16": rf"{_AMX}|\bavx512_fp16\b",
    "AVX512_CORE_VNNI": _BF16,
    "AVX512_CORE": _VNNI,
    "AVX2_VNNI_2": rf"{_AMX}|\bavx512\w*",
    "AVX2_VNNI": rf"{_AMX}|\bavx512\w*",
    "AVX2": rf"{_VNNI}|\bavx512\w*",
    "AVX": rf"{_VNNI}|\bavx512\w*|\bavx2\b",
    "SSE41": rf"{_VNNI}|\bavx\w*",
}


@cache
def bf16_is_fast(device: str) -> bool:
    """Whether a device of this type ("cpu", "cuda") multiplies bfloat16 faster than float32.

    A CPU needs AMX for this, or AVX512-BF16 if it is not Intel's: there fp32 is faster. The 50 K student trains at 20
    instead of 13 steps/s, and OpenVINO takes 77 instead of 133 ms for 640x360 (a Xeon whose AMX is not passed on to
    the virtual machine); on AMD's Zen 4 and 5 bf16 is faster.
    """
    if device == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported())
    flags = cpu_flags()
    return "amx_bf16" in flags or ("avx512_bf16" in flags and "GenuineIntel" not in flags)


def int8_saturates() -> bool:
    """Whether sums of int8 products saturate: an x86 CPU without VNNI or AMX adds pairs of them in 16 bits.

    A product of an unsigned and a signed byte is at most 255 x 127, and two of them exceed 32767. With 7 bits in the
    weights, 2 x 255 x 64, they cannot.
    """
    has_vnni = re.search(r"\b(avx512_vnni|avx_vnni|amx_int8)\b", cpu_flags())
    return platform.machine() in ("x86_64", "AMD64") and not has_vnni


def cpu_flags(capped: bool = True) -> str:
    """Text with the CPU's feature names as words; empty if not available.

    Args:
        capped: exclude features that oneDNN, the library of PyTorch and OpenVINO, is configured not to use.
    """
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    cap = os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or ""
    excluded = _EXCLUDED.get(cap.upper())
    return re.sub(excluded, "", text) if capped and excluded else text

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from srkd.inference.backends import openvino
from srkd.training import precision

ZEN5 = "vendor_id : AuthenticAMD\nflags : fpu avx avx2 avx512f avx_vnni avx512_bf16 avx512_vnni\n"
SAPPHIRE = (
    "vendor_id : GenuineIntel\nflags : avx2 avx512f avx512_vnni avx512_bf16 avx512_fp16 amx_bf16 amx_tile amx_int8\n"
)
HASWELL = "flags : fpu avx avx2\n"


@pytest.fixture(autouse=True)
def _no_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.mark.parametrize(
    ("processor", "cap", "bf16", "saturates", "sound"),
    [
        (HASWELL, "", False, True, True),
        (ZEN5, "", True, False, True),
        (ZEN5, "AVX512_CORE_VNNI", False, False, True),
        (ZEN5, "avx512_core", False, True, True),
        (ZEN5, "AVX2_VNNI", False, False, False),
        (ZEN5, "AVX2", False, True, False),
        (ZEN5, "SSE41", False, True, False),
        (SAPPHIRE, "AVX512_CORE_BF16", False, False, True),
        (SAPPHIRE, "AVX512_CORE", False, True, True),
        (SAPPHIRE, "no such cap", True, False, True),
    ],
)
def test_precisions_depend_on_cpu_flags_and_onednn_cap(
    processor: str, cap: str, bf16: bool, saturates: bool, sound: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: processor)
    monkeypatch.setenv("DNNL_MAX_CPU_ISA" if cap == "AVX2" else "ONEDNN_MAX_CPU_ISA", cap)
    assert precision.bf16_is_fast.__wrapped__("cpu") is bf16
    assert precision.int8_saturates() is saturates and openvino.int8_is_sound() is sound
    assert ("amx" in precision.cpu_flags()) is (processor == SAPPHIRE and cap == "no such cap")
    assert precision.cpu_flags(capped=False) == processor


def test_other_processors_than_x86_are_assumed_not_to_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: "Features : fp asimd asimddp i8mm\n")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert not precision.int8_saturates() and openvino.int8_is_sound() and not precision.bf16_is_fast.__wrapped__("cpu")

"""What the processor of this machine can do; needs no PyTorch."""

import os
from functools import cache
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")

FAST_BFLOAT16 = frozenset({"amx_bf16", "avx512_bf16"})
"""Instruction sets that multiply bfloat16 at least as fast as float32."""

WITHOUT_BFLOAT16 = frozenset({"sse41", "avx", "avx2", "avx2_vnni", "avx512_core", "avx512_core_vnni"})
"""Values of oneDNN's ``ONEDNN_MAX_CPU_ISA``, in small letters, that keep it from those sets; bfloat16 is then
emulated."""

MATRIX_SETS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
"""Instruction sets that decide the speed of matrix products, the fastest first, as Linux calls them."""

LIMITS = (("avx10", 1), ("avx512_core_bf16", 1), ("avx512_core_fp16", 1), ("avx512", 2), ("avx2", 3))
"""Start of a value of ``ONEDNN_MAX_CPU_ISA`` without AMX, and the place of the fastest set that it leaves."""


@cache
def instruction_sets(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """The flags that Linux lists for the first core; empty elsewhere."""
    try:
        text = cpuinfo.read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    return frozenset(next((line.split() for line in text.splitlines() if line.startswith("flags")), []))


def bfloat16_is_fast(cpuinfo: Path = CPUINFO) -> bool:
    """Whether oneDNN multiplies bfloat16 here without emulation, its environment variable heeded."""
    return _limit() not in WITHOUT_BFLOAT16 and bool(FAST_BFLOAT16 & instruction_sets(cpuinfo))


def matrix_set(cpuinfo: Path = CPUINFO) -> str:
    """The fastest of :data:`MATRIX_SETS` that oneDNN may use here, or ``""``; its variable is heeded."""
    limit, first = _limit(), 0
    if limit not in ("", "default") and "amx" not in limit:
        first = next((place for start, place in LIMITS if limit.startswith(start)), len(MATRIX_SETS))
    return next((name for name in MATRIX_SETS[first:] if name in instruction_sets(cpuinfo)), "")


def _limit() -> str:
    return os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", "")).lower()

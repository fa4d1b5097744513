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
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
    return limit.lower() not in WITHOUT_BFLOAT16 and bool(FAST_BFLOAT16 & instruction_sets(cpuinfo))

"""The facts beside a ratio: what the libraries may use of a processor, and how fast that is."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import machine
from retrieval.run.processor import MATRIX_SETS, matrix_set


@pytest.fixture
def amx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A processor that has every set, and no limit to them."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    found = tmp_path / "cpuinfo"
    found.write_text(f"flags\t\t: fpu {' '.join(MATRIX_SETS)}\n")
    return found


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("", "amx_bf16"),
        ("DEFAULT", "amx_bf16"),
        ("AVX512_CORE_AMX", "amx_bf16"),
        ("AVX10_1_512", "avx512_bf16"),
        ("AVX512_CORE_BF16", "avx512_bf16"),
        ("AVX512_CORE_VNNI", "avx512f"),
        ("AVX2_VNNI", "avx2"),
        ("AVX", ""),
    ],
)
def test_the_limit_of_onednn_is_heeded(
    limit: str, expected: str, amx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert matrix_set(amx) == expected


def test_a_processor_has_what_it_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx2 avx512f\n")
    assert matrix_set(tmp_path / "cpuinfo") == "avx512f"
    assert matrix_set(tmp_path / "none") == ""


def test_facts_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "COPY_BYTES", 2**20)
    monkeypatch.setattr(machine, "COPY_SECONDS", 0.0)
    monkeypatch.setattr(machine, "PRODUCT", {"32": 32, "bf16": 32})
    found = machine.facts(1)
    assert found["precision"] in ("32", "bf16")
    assert found["gemm_flops"] > 0
    assert found["copy_bytes"] > 0
    said = machine.line(found)
    assert all(str(found[name]) in said for name in ("cpu", "isa", "aten", "torch", "platform"))

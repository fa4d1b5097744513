"""Which precision ``train.precision=auto`` is: the faster of two, measured once a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from retrieval.errors import ParetrieveError
from retrieval.run import precision
from retrieval.run.precision import faster_precision, measure


@pytest.fixture
def native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A processor that multiplies bfloat16 itself."""
    for name in ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"):
        monkeypatch.delenv(name, raising=False)
    found = tmp_path / "cpuinfo"
    found.write_text("flags\t\t: sse avx2 avx512f avx512_bf16\n")
    return found


@pytest.mark.parametrize(("slow", "fast"), [("32", "bf16"), ("bf16", "32")])
def test_the_faster_precision_is_taken_and_kept(
    native: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow: str, fast: str
) -> None:
    monkeypatch.setattr(precision, "measure", lambda: {slow: 2.0, fast: 1.0})
    assert faster_precision(tmp_path / "cache", native) == fast
    (record,) = (tmp_path / "cache" / "machine").glob("precision-*.json")
    assert json.loads(record.read_text())["seconds"] == {slow: 2.0, fast: 1.0}

    # Another process of the machine, which the load of this moment might tell otherwise.
    precision._faster.cache_clear()
    monkeypatch.setattr(precision, "measure", lambda: {slow: 1.0, fast: 2.0})
    assert faster_precision(tmp_path / "cache", native) == fast
    assert faster_precision(tmp_path / "another", native) == slow


def test_without_the_instructions_nothing_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> dict[str, float]:
        raise ParetrieveError("there is no choice")

    monkeypatch.setattr(precision, "measure", refuse)
    assert faster_precision(tmp_path, tmp_path / "absent") == "32"
    assert not list(tmp_path.iterdir())


def test_both_precisions_are_timed_on_one_thread_and_threads_are_given_back() -> None:
    import torch

    before = torch.get_num_threads()
    seconds = measure()
    assert set(seconds) == {"32", "bf16"}
    assert all(value > 0 for value in seconds.values())
    assert torch.get_num_threads() == before

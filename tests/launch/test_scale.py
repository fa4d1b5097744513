"""Ten thousand cells through the real machinery: a stub in place of training, everything else as it is."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from helpers import composed, options

from sweeps.cli import main
from sweeps.launch.sweep import run_sweep

CELLS = int(os.environ.get("PARETRIEVE_SCALE_CELLS", "10000"))
SLEEP = 0.02
"""Seconds that a stub cell takes."""


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_cells(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cells = composed(tmp_path, [f"sleep:{SLEEP}"] * CELLS)
    for number, cell in enumerate(cells):
        cell.config.seed = number
    cores = len(os.sched_getaffinity(0))
    figures: dict[str, float] = {"cells": CELLS, "cores": cores, "stub_seconds": SLEEP}

    begun, worked = time.monotonic(), time.process_time()
    ended, status = run_sweep(cells, options(slots=cores, preload=["stub_cells"]), tmp_path / "sweep")
    figures["sweep_seconds"] = time.monotonic() - begun
    assert status == 0
    assert all(cell.state == "done" for cell in ended)
    figures["overhead_per_cell"] = figures["sweep_seconds"] / CELLS * cores - SLEEP
    figures["scheduler_cpu_per_cell"] = (time.process_time() - worked) / CELLS

    begun, worked = time.monotonic(), time.process_time()
    again, status = run_sweep(cells, options(preload=["stub_cells"]), tmp_path / "again")
    figures["nothing_left_to_do_seconds"] = time.monotonic() - begun
    figures["nothing_left_to_do_cpu"] = time.process_time() - worked
    assert status == 0
    assert all(cell.skipped for cell in again)

    begun, worked = time.monotonic(), time.process_time()
    assert main(["status", "--runs", str(tmp_path / "runs"), "--limit", "20"]) == 0
    figures["status_seconds"] = time.monotonic() - begun
    figures["status_cpu"] = time.process_time() - worked
    begun = time.monotonic()
    assert main(["collect", "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "runs.csv")]) == 0
    figures["collect_seconds"] = time.monotonic() - begun
    figures["files_per_cell"] = sum(1 for _ in (tmp_path / "runs").rglob("*")) / CELLS
    capfd.readouterr()
    with capfd.disabled():
        print("\n" + json.dumps(figures))

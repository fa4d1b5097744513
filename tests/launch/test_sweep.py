"""Sweeps of stub cells in this process: outcomes, isolation, skipping, preparation, devices."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import stub_cells
from helpers import composed, options
from stub_cells import FEW

from retrieval.errors import ConfigError
from retrieval.opened import Run
from retrieval.run.directory import RunDirectory
from sweeps.launch import sweep
from sweeps.launch.cells import Cell
from sweeps.launch.need import estimate
from sweeps.launch.scheduler import Scheduler
from sweeps.launch.sweep import run_sweep


def outcome(cells: list[Cell]) -> list[str]:
    return [cell.state for cell in cells]


def errors(cells: list[Cell]) -> list[str]:
    return [f"{cell.error['type']}: {cell.error['message']}" if cell.error else "" for cell in cells]


def test_failures_are_isolated_and_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    behaviours = ["ok", "raise", "kill", "exit", "leave", "diverge", "train:3:0.1"]
    cells, status = run_sweep(composed(tmp_path, behaviours), options(), tmp_path / "sweep")
    assert status == 1
    assert outcome(cells) == ["done", "failed", "failed", "failed", "failed", "failed", "done"]
    assert errors(cells)[1:6] == [
        "ValueError: deliberate\nsecond line",
        "ProcessKilled: killed by SIGKILL; out of memory?",
        "ProcessExit: ended early with exit status 3",
        "SystemExit: leaving early",
        "TrainingError: LOSS_NOT_FINITE: loss is nan at step 7; lower train.lr, or set train.precision=32",
    ]
    for cell in cells:
        assert cell.run.state() == cell.state
        assert (cell.run.status() or {})["error"] == cell.error
        assert "hello from its child" in cell.run.log.read_text()
    assert "stub_cells.py" in (cells[1].run.status() or {})["error"]["traceback"]
    record = json.loads((tmp_path / "sweep" / "sweep.json").read_text())
    assert [cell["state"] for cell in record["cells"]] == outcome(cells)
    assert [cell["run"] for cell in record["cells"]] == [cell.run.name for cell in cells]
    printed = capfd.readouterr()
    for cell in cells:
        assert cell.run.name in printed.out
    assert "LOSS_NOT_FINITE" in printed.out
    assert "hello" not in printed.out + printed.err


def test_every_cell_is_a_new_process_with_its_threads(tmp_path: Path) -> None:
    cells, _ = run_sweep(composed(tmp_path, ["a", "b", "c"]), options(threads=3), tmp_path / "a-sweep")
    results = [cell.result or {} for cell in cells]
    assert len({result["pid"] for result in results} | {os.getpid()}) == 4
    assert [(result["threads"], result["assigned"]) for result in results] == [("3", 3)] * 3
    assert {result["group"] for result in results} == {"a-sweep"}


def test_finished_cells_start_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = run_sweep(composed(tmp_path, ["a", "b"]), options(), tmp_path / "one")

    def refuse(*_: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(sweep, "start_server", refuse)
    cells, status = run_sweep(composed(tmp_path, ["a", "b"]), options(), tmp_path / "two")
    assert status == 0
    assert all(cell.skipped for cell in cells)
    assert [cell.result for cell in cells] == [cell.result for cell in first]


def test_failed_cells_are_retried(tmp_path: Path) -> None:
    run_sweep(composed(tmp_path, ["a", "exit"]), options(), tmp_path / "one")
    cells, _ = run_sweep(composed(tmp_path, ["a", "exit"]), options(), tmp_path / "two")
    assert [cell.skipped for cell in cells] == [True, False]
    assert cells[1].run.log.read_text().count("hello from the cell") == 2


def test_fail_fast_stops_the_others(tmp_path: Path) -> None:
    behaviours = ["train:1000:100", "raise-once-others-train", "train:1000:101"]
    cells, status = run_sweep(
        composed(tmp_path, behaviours, fail_fast=True), options(slots=2), tmp_path / "sweep"
    )
    assert status == 1
    assert outcome(cells) == ["stopped", "failed", "waiting"]
    assert cells[0].run.state() == "stopped"
    assert (cells[0].run.path / "checkpoint").exists()


def test_data_are_prepared_once_and_their_failure_is_the_cells(tmp_path: Path) -> None:
    good = composed(tmp_path, ["a", "b"])
    other = composed(tmp_path, ["c"], data__vocabulary=200)
    bad = composed(tmp_path, ["d"], data__path="unreadable", data__vocabulary=300)
    cells, status = run_sweep([*good, *other, *bad], options(), tmp_path / "sweep")
    assert status == 1
    assert outcome(cells) == ["done", "done", "done", "failed"]
    assert errors(cells)[3] == "DataError: corpus.jsonl:3: not JSON; mend the line"
    assert (tmp_path / "cache").read_text().count("prepared") == 2


def test_cells_are_estimated_anew_by_what_their_data_are_like(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # As much is assumed of a whole corpus as of the largest there are.
    full = composed(tmp_path, ["a"], eval__max_queries=None, eval__pool=None)
    other = composed(tmp_path, ["b"], eval__max_queries=20)
    assumed = [estimate(item.config) for item in (*full, *other)]
    cells, _ = run_sweep([*full, *other], options(prepare="stub_cells:prepare_few"), tmp_path / "sweep")
    # What was read for one way to measure says nothing of another.
    expected = [estimate(full[0].config, contents=FEW), assumed[1]]
    assert [cell.work for cell in cells] == expected
    assert cells[0].work.evaluate < 0.2 * assumed[0].evaluate
    assert cells[0].work.memory <= assumed[0].memory
    assert "estimate with the data read: " in capsys.readouterr().err


def test_the_same_cell_twice_runs_once(tmp_path: Path) -> None:
    cells, status = run_sweep(composed(tmp_path, ["train:5:1"] * 2), options(), tmp_path / "sweep")
    assert status == 0
    assert cells[0].run.name == cells[1].run.name
    assert cells[0].run.log.read_text().count("hello from the cell") == 1


def test_gpus_are_handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    behaviours = ["train:5:1", "train:5:1.1", "b", "c"]
    cells, status = run_sweep(
        composed(tmp_path, behaviours, trainer__accelerator="auto"), options(), tmp_path / "sweep"
    )
    assert status == 0
    devices = [(cell.result or {})["devices"] for cell in cells]
    assert sorted(devices[:2]) == ["4", "7"]
    assert set(devices) == {"4", "7"}


def test_cells_share_a_gpu_that_one_does_not_fill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    monkeypatch.setattr(sweep, "available_cores", lambda: 8)
    cells, status = run_sweep(
        composed(tmp_path, ["a", "b", "c"], trainer__accelerator="auto"),
        options(gpu_probe="stub_cells:gpu_probe"),
        tmp_path / "sweep",
    )
    assert status == 0
    assert [(cell.result or {})["devices"] for cell in cells] == ["4"] * 3
    assert [(cell.units, cell.threads) for cell in cells] == [(4, 4)] * 3  # .4 of 8 places, rounded up


def test_invalid_cell_stops_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(config: Any, fingerprint: str | None) -> Run:
        if config.model.pretrained == "b":
            raise ConfigError("bad")
        return stub_cells.open_run(config)

    monkeypatch.setattr(sweep, "resolve_name", lambda _: opened)
    with pytest.raises(ConfigError, match="bad"):
        run_sweep(composed(tmp_path, ["a", "b"]), options(), tmp_path / "sweep")
    assert not (tmp_path / "runs").exists()


def test_a_cell_of_another_host_is_waited_for_until_its_heart_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = composed(tmp_path, ["a"])
    run = RunDirectory.of(cell[0].config, "stub of synthetic")
    run.path.mkdir(parents=True)
    status = run.path / "status.json"
    status.write_text(json.dumps({"state": "running", "host": "elsewhere", "pid": 1}))
    monkeypatch.setattr("retrieval.run.ownership.STALE_SECONDS", 1.0)
    monkeypatch.setattr("sweeps.launch.scheduler.ELSEWHERE_SECONDS", 0.1)
    begun = time.monotonic()
    start = Scheduler._start

    def age_then_start(self: Scheduler, cell: Cell) -> None:
        assert time.monotonic() - begun >= 0.9
        # The cell's own process has the real limit of patience.
        os.utime(status, (time.time() - 1000, time.time() - 1000))
        start(self, cell)

    monkeypatch.setattr(Scheduler, "_start", age_then_start)
    cells, code = run_sweep(cell, options(), tmp_path / "sweep")
    assert code == 0
    assert outcome(cells) == ["done"]


def test_threads_by_a_probe_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "available_cores", lambda: 4)

    def threads(hidden: int, where: Path, probe: str) -> list[int]:
        cells = composed(where, ["a", "b"], model__hidden=hidden)
        ended, status = run_sweep(cells, options(probe=probe), where / "sweep")
        assert status == 0
        return [cell.threads for cell in ended]

    assert threads(128, tmp_path / "narrow", "stub_cells:probe") == [1, 1]
    assert threads(512, tmp_path / "wide", "stub_cells:probe") == [2, 2]
    assert (tmp_path / "wide" / "cache").read_text().count("probed") == 1
    assert "cannot probe" not in capfd.readouterr().err
    assert threads(128, tmp_path / "none", "stub_cells:no_probe") == [2, 2]
    assert "cannot probe this machine (no clock); slots and threads by assumed" in capfd.readouterr().err


def test_a_probe_that_takes_too_long_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sweep, "available_cores", lambda: 4)
    monkeypatch.setattr(sweep, "PROBE_PATIENCE", 0.5)
    cells = composed(tmp_path, ["a", "b"], model__hidden=128)
    _, status = run_sweep(cells, options(probe="stub_cells:endless_probe"), tmp_path / "sweep")
    assert status == 0
    assert "cannot probe this machine (not done after 0.5 seconds)" in capfd.readouterr().err


def test_no_probe_where_nothing_is_to_be_chosen(tmp_path: Path) -> None:
    for number, changes in enumerate([{"threads": 1}, {"slots": 2}]):
        where = tmp_path / str(number)
        run_sweep(composed(where, ["a", "b"]), options(probe="stub_cells:probe", **changes), where / "sweep")
        assert "probed" not in (where / "cache").read_text()

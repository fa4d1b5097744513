"""Time left, from estimates and from what cells report."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from helpers import cell_config

from retrieval.run.directory import RunDirectory
from sweeps.launch import packing as module
from sweeps.launch.cells import Cell
from sweeps.launch.display import duration, progress_line
from sweeps.launch.need import Need, estimate
from sweeps.launch.packing import Pace, plan_slots
from sweeps.launch.process import Child


class Clock:
    now = 100.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def make_cells(folder: Path, count: int, work: Need) -> list[Cell]:
    return [
        Cell(n, [], cell_config(folder, "x"), RunDirectory(folder / f"model_{n}_hash"), work, "data")
        for n in range(count)
    ]


def begin(cell: Cell) -> None:
    cell.state = "running"
    cell.child = cast(Child, SimpleNamespace(process=SimpleNamespace(pid=7)))


def report(cell: Cell, step: int, phase: str = "train", pid: int = 7) -> None:
    directory = cast(Any, cell.run)
    directory._update(state="running", pid=pid, step=step, steps=100, phase=phase)


def test_estimates_hold_until_a_cell_reports(tmp_path: Path) -> None:
    cells = make_cells(tmp_path, 4, Need(train=50, parameters=10**6, evaluate=10))
    pace = Pace(plan_slots([cell.work for cell in cells], 2), None, gpu=False)
    assert pace.seconds_left(cells) == 120
    begin(cells[0])
    report(cells[0], 90, pid=6)  # of an earlier attempt
    pace.observe(cells)
    assert pace.progress == {}
    assert pace.seconds_left(cells) == 120


def test_observed_pace_corrects_training_and_evaluation(tmp_path: Path, clock: Clock) -> None:
    cells = make_cells(tmp_path, 2, Need(train=50, parameters=10**6, evaluate=10))
    pace = Pace(plan_slots([cell.work for cell in cells], 1), None, gpu=False)
    begin(cells[0])
    report(cells[0], 0)
    pace.observe(cells)
    clock.now += 20
    report(cells[0], 20)
    pace.observe(cells)
    # One step takes a second, twice the estimate: 80 + 20 here, 100 + 20 for the next.
    assert pace.seconds_left(cells) == pytest.approx(220)
    clock.now += 80
    report(cells[0], 100, "evaluate")
    pace.observe(cells)
    assert pace.seconds_left(cells) == pytest.approx(20 + 120)
    clock.now += 30
    cells[0].end("done")
    pace.observe(cells)
    # The evaluation took three times its estimate.
    assert pace.seconds_left(cells) == pytest.approx(100 + 30)


def test_a_resumed_cell_counts_only_its_own_steps(tmp_path: Path, clock: Clock) -> None:
    cells = make_cells(tmp_path, 1, Need(train=100, parameters=10**6))
    pace = Pace(plan_slots([cell.work for cell in cells], 1), None, gpu=False)
    begin(cells[0])
    report(cells[0], 50)
    pace.observe(cells)
    clock.now += 10
    report(cells[0], 60)
    pace.observe(cells)
    assert pace.seconds_left(cells) == pytest.approx(40)


def test_several_threads_are_expected_to_be_faster(tmp_path: Path) -> None:
    cells = make_cells(tmp_path, 1, Need(train=100, parameters=10**8))
    plan = plan_slots([cell.work for cell in cells], 2)
    cells[0].threads = plan.threads[0]
    assert Pace(plan, None, gpu=False).seconds_left(cells) == pytest.approx(plan.seconds)
    assert Pace(plan, None, gpu=True).seconds_left(cells) == 100


def test_progress_line(tmp_path: Path) -> None:
    cells = make_cells(tmp_path, 3, estimate(cell_config(tmp_path, "x")))
    cells[0].end("done")
    begin(cells[1])
    report(cells[1], 40)
    pace = Pace(plan_slots([cell.work for cell in cells], 2), None, gpu=False)
    pace.observe(cells)
    line = progress_line(cells, pace.progress, 65, 3725)
    assert line == "sweep 1/3 done · 1 running · 1:05, about 1:02:05 left | model_1 40/100"
    assert duration(None) == ""

"""Progress of the running cells and the time the sweep still needs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from retrieval.launch.cells import Cell
from retrieval.launch.slots import Plan, Task, makespan

SMALLEST_SHARE = 0.02
"""A cell says something about the pace once it has advanced by this share."""

BEFORE_EVALUATION = ("data", "train")
"""Phases of :meth:`retrieval.runs.RunDirectory.progress` that come before the measuring."""


@dataclass(frozen=True)
class Progress:
    """What a running cell last reported."""

    step: int
    steps: int
    phase: str

    def share(self, train_share: float) -> float:
        """Share of the cell that is over, 0 to 1."""
        if self.phase not in BEFORE_EVALUATION:
            return train_share
        return train_share * min(1.0, self.step / self.steps) if self.steps else 0.0


class Pace:
    """Corrects the estimates of :mod:`retrieval.launch.estimate` by what cells really take."""

    def __init__(self, plan: Plan, memory: int | None, gpu: bool) -> None:
        self._plan, self._memory, self._gpu = plan, memory, gpu
        self._first: dict[int, tuple[float, float]] = {}
        self._ratios: dict[int, tuple[int, float]] = {}
        self.progress: dict[int, Progress] = {}

    def observe(self, cells: Sequence[Cell]) -> None:
        """Read the status of running cells and the duration of ended ones."""
        for cell in cells:
            if cell.state == "running":
                self._observe_running(cell)
            elif cell.state == "done" and cell.index in self.progress:
                del self.progress[cell.index]
                since, share = self._first[cell.index]
                self._note(cell, time.monotonic() - since, 1.0 - share)

    def seconds_left(self, cells: Sequence[Cell]) -> float:
        """Time until the last cell ends: the schedule simulated with corrected estimates."""
        running = [self._task(cell) for cell in cells if cell.state == "running"]
        waiting = [
            self._task(cells[number]) for number in self._plan.order if cells[number].state == "waiting"
        ]
        return makespan(running, waiting, self._plan.capacity, self._memory)

    def _observe_running(self, cell: Cell) -> None:
        status = cell.run.status() or {}
        process = cell.child.process if cell.child else None
        if process is None or status.get("pid") != process.pid:
            return  # of an earlier attempt
        progress = Progress(
            int(status.get("step") or 0), int(status.get("steps") or 0), status.get("phase") or "train"
        )
        self.progress[cell.index] = progress
        share = progress.share(cell.work.train_share)
        since, before = self._first.setdefault(cell.index, (time.monotonic(), share))
        self._note(cell, time.monotonic() - since, share - before)

    def _note(self, cell: Cell, seconds: float, share: float) -> None:
        if share >= SMALLEST_SHARE:
            self._ratios[cell.index] = (cell.work.parameters, seconds / (share * self._predicted(cell)))

    def _task(self, cell: Cell) -> Task:
        seconds = self._predicted(cell) * self._correction(cell)
        if cell.index in self.progress:
            share = self.progress[cell.index].share(cell.work.train_share)
            since, before = self._first[cell.index]
            # What has passed since the last report counts too, but a cell is never over before it says so.
            passed = (time.monotonic() - since) / seconds + before if seconds else share
            seconds *= 1 - min(0.99, max(share, passed))
        return Task(seconds, cell.units, cell.work.memory)

    def _predicted(self, cell: Cell) -> float:
        return cell.work.seconds if self._gpu else cell.work.on(cell.threads)

    def _correction(self, cell: Cell) -> float:
        """Observed over predicted time: of this cell, of cells of its size, of any, or 1."""
        if cell.index in self._ratios:
            return self._ratios[cell.index][1]
        alike = [ratio for size, ratio in self._ratios.values() if size == cell.work.parameters]
        return median(alike or [ratio for _, ratio in self._ratios.values()] or [1.0])

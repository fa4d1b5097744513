"""Progress of the running cells and the time the sweep still needs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from sweeps.launch.cells import Cell
from sweeps.launch.packing import Load, Plan, makespan

BEFORE_EVALUATION = ("data", "train")
"""Phases of :meth:`retrieval.run.directory.RunDirectory.progress` that come before the measuring."""

SMALLEST_SHARE = 0.02
"""A cell says something about the pace once it has trained this share."""


@dataclass(frozen=True)
class Progress:
    """What a running cell last reported."""

    step: int
    steps: int
    phase: str

    @property
    def trained(self) -> float:
        """Share of the training that is over, 0 to 1."""
        if self.phase not in BEFORE_EVALUATION:
            return 1.0
        return min(1.0, self.step / self.steps) if self.steps else 0.0


@dataclass
class Track:
    """Observations of one cell."""

    seen: float
    """Monotonic time of the first report."""
    before: float
    """Share trained at the first report."""
    measuring: float | None = None
    """Monotonic time at which the training was over."""


class Pace:
    """Corrects the estimates of :mod:`sweeps.launch.need` by what cells really take."""

    def __init__(self, plan: Plan, memory: int | None, gpu: bool) -> None:
        self._plan, self._memory, self._gpu = plan, memory, gpu
        self._tracks: dict[int, Track] = {}
        self._training: dict[int, tuple[int, float]] = {}
        self._measuring: dict[int, tuple[int, float]] = {}
        self.progress: dict[int, Progress] = {}

    def observe(self, cells: Sequence[Cell]) -> None:
        """Read the status of running cells and note when others ended."""
        now = time.monotonic()
        for cell in cells:
            if cell.state == "running":
                self._observe_running(cell, now)
            elif self.progress.pop(cell.index, None) is not None and cell.state == "done":
                track = self._tracks.get(cell.index)
                if track is not None and track.measuring is not None and cell.work.evaluate:
                    took = (now - track.measuring) * self._faster(cell)
                    self._measuring[cell.index] = (cell.work.parameters, took / cell.work.evaluate)

    def seconds_left(self, cells: Sequence[Cell]) -> float:
        """Time until the last cell ends: the schedule simulated with corrected estimates."""
        running = [self._task(cell) for cell in cells if cell.state == "running"]
        waiting = [
            self._task(cells[number]) for number in self._plan.order if cells[number].state == "waiting"
        ]
        return makespan(running, waiting, self._plan.capacity, self._memory)

    def _observe_running(self, cell: Cell, now: float) -> None:
        status = cell.run.status() or {}
        process = cell.child.process if cell.child else None
        if process is None or status.get("pid") != process.pid:
            return  # of an earlier attempt
        progress = Progress(
            int(status.get("step") or 0), int(status.get("steps") or 0), status.get("phase") or "data"
        )
        self.progress[cell.index] = progress
        if progress.phase == "data":
            return
        track = self._tracks.setdefault(cell.index, Track(now, progress.trained))
        if track.measuring is not None:
            return
        share = progress.trained - track.before
        if share >= SMALLEST_SHARE and cell.work.train:
            took = (now - track.seen) * self._faster(cell)
            self._training[cell.index] = (cell.work.parameters, took / (share * cell.work.train))
        if progress.trained == 1:
            track.measuring = now

    def _task(self, cell: Cell) -> Load:
        train = cell.work.train * correction(self._training, cell)
        evaluate = cell.work.evaluate * correction(self._measuring or self._training, cell)
        track = self._tracks.get(cell.index)
        if cell.state == "running" and track is not None:
            train *= 1 - self.progress[cell.index].trained
            if track.measuring is not None:
                # It is never over before it says so.
                passed = (time.monotonic() - track.measuring) * self._faster(cell)
                evaluate = max(evaluate - passed, 0.05 * evaluate)
        return Load((train + evaluate) / self._faster(cell), cell.units, cell.work.memory)

    def _faster(self, cell: Cell) -> float:
        """How many times faster than the estimate's one core the cell is expected to be."""
        return 1.0 if self._gpu else cell.work.faster(cell.threads)


def correction(ratios: Mapping[int, tuple[int, float]], cell: Cell) -> float:
    """Observed over estimated time: of this cell, of cells of its size, of any, or 1."""
    if cell.index in ratios:
        return ratios[cell.index][1]
    alike = [ratio for size, ratio in ratios.values() if size == cell.work.parameters]
    return median(alike or [ratio for _, ratio in ratios.values()] or [1.0])

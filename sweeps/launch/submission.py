"""Cells handed to a cluster: cut into chunks, watched through their run directories until all have ended."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sweeps.launch.cells import Cell, SweepRecord
from sweeps.launch.display import Display
from sweeps.launch.process import ORPHAN_SECONDS, on_request_to_end

POLL_SECONDS = 2.0
POLL_SECONDS_A_CELL = 0.005
"""Looking at thousands of run directories must not keep a shared file system busy."""

PATIENCE = 120.0
"""Seconds that tasks which were taken back may use to write their checkpoints."""


class Task(Protocol):
    """A chunk that was submitted."""

    def ended(self) -> bool:
        """Whether nothing of it runs or waits in a queue any more."""

    def reason(self) -> str:
        """Why it ended, for cells that it did not finish."""

    def cancel(self) -> None:
        """Take it back: its cells write their checkpoints; a second time, they end now."""


@dataclass
class Submitted:
    """A task and its cells."""

    task: Task
    cells: Sequence[Cell]
    before: Mapping[str, object] = field(default_factory=dict)
    """``started`` of each run's status when it was submitted: what an earlier attempt left is not its own."""
    over: bool = False


def cut(cells: Sequence[Cell], size: int) -> list[list[Cell]]:
    """Chunks of at most ``size`` cells and about equal work, the longest cells first."""
    ordered = sorted(cells, key=lambda cell: -cell.work.seconds)
    count = -(-len(ordered) // size)
    return [ordered[first::count] for first in range(count)]


def submitted(task: Task, cells: Sequence[Cell]) -> Submitted:
    """``task`` as just submitted with ``cells``."""
    return Submitted(task, cells, {cell.run.name: _started(cell) for cell in cells})


def until_interrupted(work: Callable[[], None], interrupted: Callable[[], None]) -> bool:
    """Do ``work``; upon Ctrl-C, a termination or a closed terminal, ``interrupted``; whether that came."""
    with on_request_to_end(_interrupt):
        try:
            work()
        except KeyboardInterrupt:
            interrupted()
            return True
    return False


def _interrupt() -> None:
    raise KeyboardInterrupt


def watch(
    tasks: Sequence[Submitted], everything: Sequence[Cell], record: SweepRecord, display: Display
) -> None:
    """Return when every cell has ended; a failed one with ``fail_fast`` takes the other tasks back."""
    fail_fast = any(bool(cell.config.get("fail_fast")) for cell in everything)
    poll = max(POLL_SECONDS, POLL_SECONDS_A_CELL * len(everything))
    with display:
        while any(not part.over for part in tasks):
            for part in tasks:
                _look(part, display)
            if fail_fast and any(cell.state == "failed" for cell in everything):
                display.say("fail_fast=true: taking the other tasks back", "red")
                take_back(tasks, display)
                return
            record.write(everything)
            if display.due():
                display.show(everything, {}, _seconds_left(everything))
            if any(not part.over for part in tasks):
                time.sleep(poll)


def _look(part: Submitted, display: Display) -> None:
    """Bring the cells of a task up to date."""
    if part.over:
        return
    part.over = part.task.ended()  # before its cells: what they say is then their last word
    for cell in part.cells:
        if cell.ended:
            continue
        state = cell.run.state()
        if not _conclude(cell, part, state):
            if not part.over:
                cell.state = "running" if state == "running" else "waiting"
                if state == "running" and cell.started is None:
                    cell.started = time.monotonic()
                continue
            cell.fail({"type": "TaskEnded", "message": part.task.reason()})
        display.event(cell)


def _conclude(cell: Cell, part: Submitted, state: str) -> bool:
    """End a cell as its run has ended, if it has in this task."""
    if state == "done":
        cell.end("done", result=cell.run.result())
    elif state == "failed" and _touched(cell, part):
        cell.end("failed", error=(cell.run.status() or {}).get("error"))
    else:
        return False
    return True


def _touched(cell: Cell, part: Submitted) -> bool:
    return _started(cell) != part.before[cell.run.name]


def take_back(tasks: Sequence[Submitted], display: Display) -> None:
    """Stop ``tasks`` and wait until they have ended; ``KeyboardInterrupt`` meanwhile stops them now."""
    going = [part for part in tasks if not part.over]
    for part in going:
        part.task.cancel()
    display.say("stopping: cells write their checkpoints (Ctrl-C again stops now)", "yellow")
    deadline, impatient = time.monotonic() + PATIENCE, False
    while any(not part.task.ended() for part in going) and time.monotonic() < deadline:
        try:
            time.sleep(0.2)
        except KeyboardInterrupt:
            if impatient:
                break
            impatient, deadline = True, time.monotonic() + ORPHAN_SECONDS + 2
            for part in going:
                part.task.cancel()
    for part in going:
        part.over = True
        for cell in part.cells:
            _settle(cell, part)


def _settle(cell: Cell, part: Submitted) -> None:
    """The last word on a cell whose task was taken back."""
    if cell.ended or _conclude(cell, part, cell.run.state()):
        return
    if _touched(cell, part):
        cell.end("stopped")
    else:
        cell.state = "waiting"


def _started(cell: Cell) -> object:
    return (cell.run.status() or {}).get("started")


def _seconds_left(cells: Sequence[Cell]) -> float:
    """By the estimates alone: nothing is known of the queue."""
    running = sum(cell.state == "running" for cell in cells)
    return sum(cell.work.seconds for cell in cells if not cell.ended) / max(1, running)


def make_importable() -> None:
    """Let processes that inherit this one's environment import what this one can."""
    paths = [str(Path(path or ".").resolve()) for path in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if Path(path).is_dir()))

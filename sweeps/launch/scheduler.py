"""The loop that starts cells, watches them and gives their slots to the next ones."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from typing import Any

from sweeps.launch.cells import Cell, CellState, SweepRecord
from sweeps.launch.display import Display
from sweeps.launch.gpus import Places
from sweeps.launch.packing import Pace, Plan, fits
from sweeps.launch.process import Child, Job, on_request_to_end

TICK_SECONDS = 0.5
ELSEWHERE_SECONDS = 2.0
"""Time between two looks at cells that another sweep works on."""

EXIT_SECONDS = 60.0
"""A process that has delivered its result must be gone after this long."""


@dataclass
class Scheduler:
    """Runs cells on the slots of a plan."""

    cells: Sequence[Cell]
    """Those to run, numbered as in the plan."""
    everything: Sequence[Cell]
    """All of the sweep, for the record and the progress line."""
    plan: Plan
    worker: str
    """The function that runs one cell's configuration, as ``module:name``."""
    record: SweepRecord
    display: Display
    memory: int | None = None
    gpus: Sequence[str] = ()
    places: int = 1
    """Of each GPU; see :class:`sweeps.launch.gpus.Sharing`."""
    fail_fast: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """Environment variables of every cell."""

    def __post_init__(self) -> None:
        self.interrupts = 0
        """Ctrl-C or termination signals received: one stops gently, two at once."""
        self._told = 0
        self._stopping = False
        self._gpus = Places(self.gpus, self.places)
        self._looked = float("-inf")
        self._pace = Pace(self.plan, self.memory, bool(self.gpus))

    def run(self) -> None:
        """Wait until every cell has ended, or after an interruption when none runs any more."""
        with on_request_to_end(self._interrupt), self.display:
            try:
                while self._turn():
                    pass
            finally:
                for child in self._children():
                    child.kill()
                self.record.write(self.everything, force=True)

    def _turn(self) -> bool:
        self._obey_interrupts()
        if not self._stopping:
            self._look_elsewhere()
            self._start_what_fits()
        running = self._running()
        if (self._stopping and not running) or all(cell.ended for cell in self.cells):
            return False
        self._pace.observe(self.cells)
        if self.display.due():
            self.display.show(self.everything, self._pace.progress, self._pace.seconds_left(self.cells))
        self.record.write(self.everything)
        handles = [handle for child in self._children() for handle in child.waitables]
        if handles:
            connection.wait(handles, TICK_SECONDS)
        else:
            time.sleep(TICK_SECONDS)
        for cell in running:
            self._attend(cell)
        return True

    def _running(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.state == "running"]

    def _children(self) -> list[Child]:
        return [cell.child for cell in self._running() if cell.child is not None]

    def _start_what_fits(self) -> None:
        busy = sum(cell.units for cell in self._running())
        used = sum(cell.work.memory for cell in self._running())
        for number in self.plan.order:
            cell = self.cells[number]
            if cell.state != "waiting":
                continue
            if not fits(cell.units, cell.work.memory, busy, used, self.plan.capacity, self.memory):
                return  # in order: a smaller cell that overtakes could starve a large one
            if self._taken(cell):
                continue
            devices = self._gpus.take(cell.units) if self.gpus else []
            if devices is None:
                return
            cell.devices = devices
            self._start(cell)
            busy, used = busy + cell.units, used + cell.work.memory

    def _taken(self, cell: Cell) -> bool:
        state = cell.run.state()
        if state == "done":
            cell.conclude(state)
            self.display.event(cell)
        elif state == "running":
            cell.state = "elsewhere"
        return state in ("done", "running")

    def _look_elsewhere(self) -> None:
        if time.monotonic() - self._looked < ELSEWHERE_SECONDS:
            return
        self._looked = time.monotonic()
        for cell in self.cells:
            if cell.state != "elsewhere":
                continue
            state = cell.run.state()
            if cell.conclude(state):
                self.display.event(cell)
            elif state != "running":
                cell.state = "waiting"  # its owner died: it is ours

    def _start(self, cell: Cell) -> None:
        environment = dict(self.environment)
        if self.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(cell.devices)
        cell.started = time.monotonic()
        job = Job(self.worker, cell.config, cell.threads, cell.run.log, environment)
        cell.child = Child(job)
        cell.state = "running"

    def _attend(self, cell: Cell) -> None:
        child = cell.child
        if child is None:
            return
        if not child.ended():
            if child.told_at is not None and time.monotonic() - child.told_at > EXIT_SECONDS:
                child.kill()
            return
        self._gpus.give_back(cell.devices, cell.units)
        cell.devices = []
        message = child.message
        kind = message.kind if message else None
        if kind == "busy":
            cell.state, cell.child, cell.started = "elsewhere", None, None
        elif message is not None and kind == "done":
            self._finish(cell, "done", result=message.result if isinstance(message.result, dict) else None)
        elif cell.run.finished() is not None:  # killed after its last word to the disk
            self._finish(cell, "done", result=cell.run.finished())
        else:
            child.kill()  # what it started may have outlived it
            if self._stopping and kind != "failed":
                self._finish(cell, "stopped")
            else:
                self._fail(cell, child.reason())

    def _fail(self, cell: Cell, error: dict[str, str]) -> None:
        cell.fail(error)
        self.display.event(cell)
        if self.fail_fast and not self._stopping:
            self.display.say("fail_fast=true: stopping the other cells", "red")
            self._stop()

    def _finish(self, cell: Cell, state: CellState, **values: Any) -> None:
        cell.end(state, **values)
        self.display.event(cell)

    def _interrupt(self) -> None:
        self.interrupts += 1

    def _obey_interrupts(self) -> None:
        if self.interrupts == self._told:
            return
        self._told = self.interrupts
        at_once = self._stopping or self.interrupts > 1
        if not self._stopping:
            self.display.say("stopping: cells write their checkpoints (Ctrl-C again stops now)", "yellow")
            self._stop()
        for child in self._children() if at_once else ():
            child.kill()

    def _stop(self) -> None:
        self._stopping = True
        for child in self._children():
            child.stop()

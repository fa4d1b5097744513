"""Cells handed to a cluster: cut into chunks, watched through their run directories until all have ended."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, cast

from omegaconf import OmegaConf

from sweeps.launch.cells import Cell, SweepRecord
from sweeps.launch.compose import Composed
from sweeps.launch.display import Display
from sweeps.launch.process import ORPHAN_SECONDS, handling, on_request_to_end
from sweeps.launch.sweep import INTERRUPTED, Options, run_sweep

POLL_SECONDS = 2.0
POLL_SECONDS_A_CELL = 0.005
"""Looking at thousands of run directories must not keep a shared file system busy."""

UNSEEN_SECONDS = 90.0
"""How long a network file system may hide what a task on another machine wrote."""

KILL_SECONDS = 600.0
"""How long a task of Slurm that was told to end waits to be killed; the grace time may be minutes."""

PATIENCE = 120.0
"""Seconds that tasks which were taken back may use to write their checkpoints."""


class Task(Protocol):
    """A chunk that was submitted."""

    lag: float
    """Seconds after its end for which what it wrote may not be seen here."""

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
    before: Mapping[str, object]
    """:func:`attempts` before it was submitted: what an earlier attempt left is not its own."""
    over: bool = False
    """Whether it has ended and its cells have."""
    ended: float | None = None
    """Monotonic time at which its end was noticed."""


def cut(cells: Sequence[Cell], size: int) -> list[list[Cell]]:
    """Chunks of at most ``size`` cells and about equal work, the longest cells first."""
    ordered = sorted(cells, key=lambda cell: -cell.work.seconds)
    count = -(-len(ordered) // size)
    return [ordered[first::count] for first in range(count)]


def attempts(cells: Sequence[Cell]) -> dict[str, object]:
    """``started`` in the status of each cell's run, by the run's name."""
    return {cell.run.name: _started(cell) for cell in cells}


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
    """Wait until every cell has ended; a failed one with ``fail_fast`` takes the other tasks back."""
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
                # By the estimates alone: nothing is known of the queue.
                running = sum(cell.state == "running" for cell in everything)
                left = sum(cell.work.seconds for cell in everything if not cell.ended)
                display.show(everything, {}, left / max(1, running))
            if any(not part.over for part in tasks):
                time.sleep(poll)


def _look(part: Submitted, display: Display) -> None:
    if part.over:
        return
    ended = part.task.ended()  # before its cells: what they say is then their last word
    part.ended = (part.ended or time.monotonic()) if ended else None
    for cell in part.cells:
        if cell.ended:
            continue
        if ended:
            cell.run.refresh()
        state = cell.run.state()
        if not _conclude(cell, part, state):
            if not ended:
                cell.state = "running" if state == "running" else "waiting"
                if state == "running" and cell.started is None:
                    cell.started = time.monotonic()
                continue
            if state == "absent" and time.monotonic() - (part.ended or 0.0) < part.task.lag:
                continue
            cell.fail({"type": "TaskEnded", "message": part.task.reason()})
        display.event(cell)
    part.over = ended and all(cell.ended for cell in part.cells)


def _conclude(cell: Cell, part: Submitted, state: str) -> bool:
    """End a cell as its run has ended, if it has in this task."""
    its_own = state == "done" or (state == "failed" and _touched(cell, part))
    return its_own and cell.conclude(state)


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
            if cell.ended or _conclude(cell, part, cell.run.state()):
                continue
            if _touched(cell, part):
                cell.end("stopped")
            else:
                cell.state = "waiting"


def _started(cell: Cell) -> object:
    return (cell.run.status() or {}).get("started")


def make_importable() -> None:
    """Let processes that inherit this one's environment import what this one can."""
    paths = [str(Path(path or ".").resolve()) for path in sys.path]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(path for path in paths if Path(path).is_dir()))


PREEMPTION = (signal.SIGUSR1, signal.SIGUSR2)
"""Signals by which a batch system announces that a task will have to make room."""


@dataclass(frozen=True)
class Chunk:
    """Cells for one task."""

    cells: list[tuple[int, list[str], dict[str, Any]]]
    """Index, overrides and configuration of each, in plain values, which any process can read."""
    folder: str
    """Where the task's own record goes."""
    directory: str
    """Working directory that relative paths of the configurations start at."""
    group: str
    """W&B group: the whole sweep's."""

    @classmethod
    def of(cls, cells: Sequence[Cell], folder: Path, number: int) -> Chunk:
        """The chunk of ``cells``, the ``number``-th of the sweep recorded in ``folder``."""
        plain = [
            (cell.index, list(cell.overrides), cast(Any, OmegaConf.to_container(cell.config, resolve=True)))
            for cell in cells
        ]
        chunk = cls(plain, str((folder / "tasks" / str(number)).resolve()), str(Path.cwd()), folder.name)
        chunk.called_off.unlink(missing_ok=True)  # of an earlier sweep in the same folder
        return chunk

    @property
    def called_off(self) -> Path:
        """A file that exists where nothing is to be run any more."""
        return Path(self.folder) / "called-off"

    def call_off(self) -> None:
        """Say, to whatever process starts with this chunk from now on, that nothing is to be run."""
        self.called_off.parent.mkdir(parents=True, exist_ok=True)
        self.called_off.touch()


class ChunkRunner:
    """Runs chunks; what a cluster's task calls.

    When the task is preempted its cells write their checkpoints and the task asks to be queued again, where
    the batch system has a way (submitit); the same chunk then goes on where it was, without what failed.
    """

    def __init__(self, options: Options, environment: Mapping[str, str]) -> None:
        """``environment``: variables of every cell."""
        self.options, self.environment = options, dict(environment)
        self._failed: set[int] = set()

    def __call__(self, chunk: Chunk) -> int:
        """Run what is not done of a chunk; the sweep's exit status. Outcomes are in the run directories."""
        if os.environ.get("SUBMITIT_EXECUTOR") == "local":
            with contextlib.suppress(PermissionError):  # leader of a group already
                os.setsid()  # a Ctrl-C at the sweep's terminal is the sweep's: it tells this task what to do
        os.chdir(chunk.directory)
        composed = [
            Composed(index, overrides, OmegaConf.create(config), self.environment)
            for index, overrides, config in chunk.cells
        ]
        with _preemption() as requeue:
            if chunk.called_off.exists():
                return INTERRUPTED
            try:
                cells, status = run_sweep(composed, self.options, Path(chunk.folder), group=chunk.group)
            except KeyboardInterrupt:  # told to end while it read its cells
                cells, status = [], INTERRUPTED
        if status != INTERRUPTED:
            return status
        self._failed = {cell.index for cell in cells if cell.state == "failed"}
        if cells and all(cell.state in ("done", "failed") for cell in cells):
            return int(bool(self._failed))
        if not requeue():
            _await_kill()
        sys.exit(128 + signal.SIGTERM)

    def checkpoint(self, chunk: Chunk) -> Any:
        """Called by submitit before it queues the task again: the chunk without the cells that failed."""
        from submitit.helpers import DelayedSubmission

        left = [cell for cell in chunk.cells if cell[0] not in self._failed]
        return DelayedSubmission(self, replace(chunk, cells=left))


def _await_kill() -> None:
    """Wait, in a task of Slurm: one that ends by itself has ended, one that is killed is queued again.

    Slurm kills at the end of the grace time of a preemption, and soon after ``scancel``.
    """
    if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" and "SLURM_JOB_ID" in os.environ:
        print(
            f"told to end by SIGTERM: waiting up to {KILL_SECONDS:g} s to be killed, so that Slurm can queue "
            "a preempted task again",
            file=sys.stderr,
            flush=True,
        )
        time.sleep(KILL_SECONDS)


@contextlib.contextmanager
def _preemption() -> Iterator[Callable[[], bool]]:
    """Let a preemption stop the sweep gently; yields what then queues the task again, if anything does.

    It returns whether there was a signal of :data:`PREEMPTION`, where it returns at all.
    """
    received: list[int] = []

    def preempt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.raise_signal(signal.SIGTERM)

    # A termination interrupts until the scheduler has a handler of its own.
    with handling(
        {**dict.fromkeys(PREEMPTION, preempt), signal.SIGTERM: signal.default_int_handler}
    ) as found:

        def requeue() -> bool:
            for number in received:
                if callable(handler := found[signal.Signals(number)]):
                    handler(number, None)
            return bool(received)

        yield requeue

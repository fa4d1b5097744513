"""A part of a sweep that one task of a cluster runs: the local scheduler, on what the task was given."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast

from omegaconf import OmegaConf

from sweeps.launch.cells import Cell
from sweeps.launch.compose import Composed
from sweeps.launch.sweep import INTERRUPTED, Options, run_sweep

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
        chunk._called_off.unlink(missing_ok=True)  # of an earlier sweep in the same folder
        return chunk

    @property
    def _called_off(self) -> Path:
        return Path(self.folder) / "called-off"

    def call_off(self) -> None:
        """Say, to whatever process starts with this chunk from now on, that nothing is to be run."""
        self._called_off.parent.mkdir(parents=True, exist_ok=True)
        self._called_off.touch()

    def called_off(self) -> bool:
        """Whether nothing is to be run any more."""
        return self._called_off.exists()


class ChunkRunner:
    """Runs chunks; what a cluster's task calls.

    When the task is preempted its cells write their checkpoints and the task asks to be queued again, where
    the batch system has a way (submitit); the same chunk then goes on where it was.
    """

    def __init__(self, options: Options, environment: Mapping[str, str]) -> None:
        """``environment``: variables of every cell."""
        self.options, self.environment = options, dict(environment)

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
            if chunk.called_off():
                return INTERRUPTED
            _, status = run_sweep(composed, self.options, Path(chunk.folder), group=chunk.group)
        if status == INTERRUPTED:
            requeue()
            sys.exit(128 + signal.SIGTERM)
        return status

    def checkpoint(self, chunk: Chunk) -> Any:
        """Called by submitit before it queues the task again: the same chunk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, chunk)


@contextlib.contextmanager
def _preemption() -> Iterator[Callable[[], None]]:
    """Let a preemption stop the sweep gently; yields what then queues the task again, if anything does."""
    received: list[int] = []
    found = {number: signal.getsignal(number) for number in (*PREEMPTION, signal.SIGTERM)}

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt  # until the scheduler has a handler of its own

    def preempt(number: int, frame: FrameType | None) -> None:
        received.append(number)
        signal.raise_signal(signal.SIGTERM)

    def requeue() -> None:
        for number in received:
            handler = found[signal.Signals(number)]
            if callable(handler):
                handler(number, None)

    try:
        for number in PREEMPTION:
            signal.signal(number, preempt)
        signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread: nothing can be caught
        yield requeue
        return
    try:
        yield requeue
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)

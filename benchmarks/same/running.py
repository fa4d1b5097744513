"""One side of the comparison: a checkout, its own cache, and the cells that were run there."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.same.cells import Cell
from benchmarks.same.compare import Values, read_result, read_run

GRACE_SECONDS = 10.0
"""What an interrupted cell has to end by itself."""

Outcome = Values | str
"""What a cell left, or why it left nothing."""


@dataclass
class Side:
    """A commit that is measured."""

    name: str
    tree: Path
    folder: Path
    collection: Path
    renames: Mapping[str, str] = field(default_factory=dict)
    """Key, or beginning of keys, of the cells -> its name at this commit."""
    runs: dict[str, Path] = field(default_factory=dict)
    """Finished cell -> its run directory."""

    def start(self, cell: Cell) -> Running:
        """Start a cell; its output goes to a file."""
        log = self.folder / f"{cell.name}.txt"
        log.parent.mkdir(parents=True, exist_ok=True)
        if cell.needs is not None and cell.needs not in self.runs:
            return Running(self, cell, log, None)
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.command(cell),
                cwd=self.tree,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a group to end as a whole; Ctrl-C comes to this process alone
            )
        return Running(self, cell, log, process)

    def command(self, cell: Cell) -> list[str]:
        """The command line of a cell at this commit."""
        places = {"collection": self.collection, **self.runs}
        given = [self._renamed(argument.format_map(places)) for argument in cell.arguments]
        given.append(f"cache={self.folder / 'cache'}")
        if cell.trains:
            return [sys.executable, "train.py", *given, f"runs={self.folder / 'runs' / cell.name}"]
        return [sys.executable, "-m", "retrieval.evaluate", *given, f"--out={self.measured(cell)}"]

    def measured(self, cell: Cell) -> Path:
        """Where a cell that does not train writes its metrics."""
        return self.folder / f"{cell.name}.json"

    def _renamed(self, argument: str) -> str:
        key, equals, value = argument.partition("=")
        for old, new in self.renames.items():
            if key == old or key.startswith(f"{old}."):
                return f"{new}{key.removeprefix(old)}{equals}{value}"
        return argument

    def _environment(self) -> dict[str, str]:
        """One thread, nothing of another checkout, nothing from a network."""
        own = {"PYTHONPATH": str(self.tree), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        kept = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
        return {**kept, **own}


@dataclass(frozen=True)
class Running:
    """A cell that was started at one commit; no process where the cell that it reads has failed."""

    side: Side
    cell: Cell
    log: Path
    process: subprocess.Popen[bytes] | None

    def outcome(self) -> Outcome:
        """Wait for its end."""
        if self.process is None:
            return f"was not run at {self.side.name}: {self.cell.needs} failed"
        status = self.process.wait()
        if status != 0:
            return f"failed at {self.side.name} with status {status}: {_last_line(self.log)}"
        if not self.cell.trains:
            return read_result(self.side.measured(self.cell))
        made = [path.parent for path in (self.side.folder / "runs" / self.cell.name).glob("*/result.json")]
        if len(made) != 1:
            return f"left {len(made)} results at {self.side.name} in place of one"
        self.side.runs[self.cell.name] = made[0]
        return read_run(made[0])

    def end(self) -> None:
        """End it with all processes that it started, if it still runs."""
        if self.process is None or self.process.poll() is not None:
            return
        os.killpg(self.process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(GRACE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextlib.contextmanager
def started(cell: Cell, sides: Sequence[Side]) -> Iterator[list[Running]]:
    """A cell side by side at all commits; ended where an interruption comes first."""
    running: list[Running] = []
    try:
        for side in sides:
            running.append(side.start(cell))
        yield running
    finally:
        for one in running:
            one.end()


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or ["it said nothing"])[-1].removeprefix("error: ")

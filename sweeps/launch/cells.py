"""The cells of a sweep, how each ended, and the sweep's own record."""

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig

from retrieval.run.directory import RunDirectory, now
from retrieval.run.files import read_json, write_json
from retrieval.run.ownership import lives, owner
from sweeps.launch.need import Need
from sweeps.launch.process import Child

CellState = Literal["waiting", "elsewhere", "running", "done", "failed", "stopped"]

RECORD_SECONDS = 2.0
"""Shortest time between two writes of the record while the sweep goes on."""


@dataclass
class Cell:
    """One run of the sweep."""

    index: int
    """Hydra's job number."""
    overrides: Sequence[str]
    config: DictConfig
    """Resolved configuration, without Hydra's part."""
    run: RunDirectory
    work: Need
    data: str
    """Key of the data that the cell needs prepared."""
    state: CellState = "waiting"
    threads: int = 1
    units: int = 1
    devices: list[str] = field(default_factory=list)
    child: Child | None = None
    started: float | None = None
    """Monotonic time of the start in this sweep."""
    seconds: float | None = None
    """Duration in this sweep."""
    skipped: bool = False
    """Whether it was done before this sweep began."""
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    estimated: DictConfig = field(init=False)
    """The configuration that its need is estimated by; see :func:`sweeps.launch.once.count_once`."""

    def __post_init__(self) -> None:
        self.estimated = self.config

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it in this sweep."""
        return self.state in ("done", "failed", "stopped")

    def fail(self, error: dict[str, str]) -> None:
        """End the cell and mark its directory failed, whatever its own process managed to write.

        A run that is done stays so, and its cell is: what its process wrote last may be seen late.
        """
        with contextlib.suppress(OSError):  # a full disk: the closing table still tells
            if not self.run.fail_unless_done(error):
                self.conclude("done")
                return
            if not self.run.config.exists():
                self.run.write_config(self.config)  # for `python -m sweeps retry`
        self.end("failed", error=error)

    def end(self, state: CellState, **values: Any) -> None:
        """Record how the cell ended."""
        self.state = state
        self.child = None
        if self.started is not None:
            self.seconds = time.monotonic() - self.started
        for name, value in values.items():
            setattr(self, name, value)

    def conclude(self, state: str) -> bool:
        """End the cell as its run in ``state`` has ended, if it has."""
        if state == "done":
            self.end("done", result=self.run.result())
        elif state == "failed":
            self.end("failed", error=(self.run.status() or {}).get("error"))
        return self.ended


class SweepRecord:
    """``sweep.json`` in the sweep's folder: which cells it has and how they stand."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "sweep.json"
        self._written = float("-inf")
        self._earlier: dict[str, Any] = read_json(self.path) or {}
        if self._earlier.get("pid") != os.getpid() and lives(self._earlier, self.path):
            # Two sweeps that began in the same second have the same folder, but each its record.
            self.path = folder / f"sweep-{socket.gethostname()}-{os.getpid()}.json"
            self._earlier = {}

    def write(self, cells: Sequence[Cell], force: bool = False) -> None:
        """Write the record, at most every :data:`RECORD_SECONDS` unless ``force``."""
        if not force and time.monotonic() - self._written < RECORD_SECONDS:
            return
        self._written = time.monotonic()
        mine = {cell.index for cell in cells}
        # A sweeper that works in batches launches several times with the same folder.
        earlier = [cell for cell in self._earlier.get("cells", []) if cell.get("index") not in mine]
        record = {
            "created": self._earlier.setdefault("created", now()),
            "updated": now(),
            **owner(),
            "runs": str(cells[0].run.path.parent.resolve()) if cells else None,
            "cells": earlier + [_entry(cell) for cell in cells],
        }
        try:
            write_json(self.path, record)
        except OSError:
            if not self.path.exists():
                raise  # the sweep begins, and nothing it writes would be kept


def _entry(cell: Cell) -> dict[str, Any]:
    error = cell.error or {}
    return {
        "index": cell.index,
        "run": cell.run.name,
        "overrides": list(cell.overrides),
        "state": cell.state,
        "seconds": cell.seconds,
        "estimate": round(cell.work.seconds, 1),
        "error": f"{error.get('type')}: {error.get('message')}" if error else None,
    }

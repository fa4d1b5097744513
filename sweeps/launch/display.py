"""What a person sees of a sweep: one live line on standard error and a closing table."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sweeps.launch.cells import Cell
from sweeps.launch.packing import Progress

PLAIN_SECONDS = 10.0
"""Time between two lines where standard error is not a terminal."""

LIVE_SECONDS = 0.4
PLAIN_WIDTH = 200
STYLES = {"done": "green", "failed": "bold red", "stopped": "yellow"}


class Display:
    """The progress line: redrawn in place on a terminal, else a line now and then and at every event."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=not sys.stderr.isatty())
        self._live: Live | None = None
        self._started = time.monotonic()
        self._printed = float("-inf")
        self._news = True

    def __enter__(self) -> Display:
        if self._console.is_terminal:
            self._live = Live(Text(), console=self._console, transient=True, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Print a line that stays."""
        self._console.print(Text(text, style=style))

    def due(self) -> bool:
        """Whether the progress line should be drawn now."""
        wait = LIVE_SECONDS if self._live is not None or self._news else PLAIN_SECONDS
        return time.monotonic() - self._printed >= wait

    def show(self, cells: Sequence[Cell], progress: Mapping[int, Progress], seconds_left: float) -> None:
        """Draw the progress line."""
        self._printed = time.monotonic()
        self._news = False
        line = progress_line(cells, progress, self._printed - self._started, seconds_left)
        if self._live is None:
            self.say(line)
        else:
            self._live.update(Text(line, no_wrap=True, overflow="ellipsis"), refresh=True)

    def event(self, cell: Cell) -> None:
        """Tell that ``cell`` ended; the next progress line is due soon."""
        self._news = True
        if cell.state == "done":
            self.say(f"done    {cell.run.name} in {duration(cell.seconds)}", "green")
        elif cell.state == "failed":
            self.say(f"failed  {cell.run.name}: {error_line(cell.error)}", "red")
            if cell.run.log.exists():
                self.say(f"        log: {cell.run.log}")
        elif cell.state == "stopped":
            self.say(f"stopped {cell.run.name}", "yellow")


def progress_line(
    cells: Sequence[Cell], progress: Mapping[int, Progress], elapsed: float, seconds_left: float
) -> str:
    """``sweep 2/6 done · 1 failed · 2 running · 1:20, about 3:10 left | <cell> 120/200 · …``."""
    counts = Counter(cell.state for cell in cells)
    parts = [f"sweep {counts['done']}/{len(cells)} done"]
    parts += [f"{counts[state]} {state}" for state in ("failed", "running", "elsewhere") if counts[state]]
    parts.append(f"{duration(elapsed)}, about {duration(seconds_left)} left")
    running = [_running(cell, progress.get(cell.index)) for cell in cells if cell.state == "running"]
    return " · ".join(parts) + (" | " + " · ".join(running) if running else "")


def output() -> Console:
    """Standard output, as wide as the terminal and elsewhere wide enough for most tables."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH)


def run_table(numbers: Sequence[str], last: str = "") -> Table:
    """An empty table of runs: name, state, ``numbers`` flush right and the text ``last``."""
    table = Table(show_edge=False, pad_edge=False)
    table.add_column("run", overflow="fold")
    table.add_column("state", no_wrap=True)
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    if last:
        table.add_column(last, overflow="fold")
    return table


def closing_table(cells: Sequence[Cell]) -> None:
    """Print all cells with their outcome to standard output."""
    table = run_table(("time", "eff CE", "ood CE"), "error or warnings")
    for cell in cells:
        result = cell.result or {}
        state = "done before" if cell.skipped else "not started" if cell.state == "waiting" else cell.state
        codes = sorted({str(warning["code"]) for warning in result.get("warnings", [])})
        table.add_row(
            Text(cell.run.name),
            Text(state, style=STYLES.get(cell.state, "")),
            duration(cell.seconds),
            number(result.get("eff/contrastive_entropy")),
            number(result.get("ood/contrastive_entropy")),
            Text(error_line(cell.error) or " ".join(codes)),
        )
    output().print(table)


def error_line(error: Any, place: int = 0) -> str:
    """``Type: line of the message``, or nothing; the first line, or that at ``place``."""
    if not isinstance(error, Mapping):
        return ""
    lines = str(error.get("message") or "").strip().splitlines()
    return f"{error.get('type')}: {lines[place] if lines else ''}"


def duration(seconds: float | None) -> str:
    """``m:ss`` or ``h:mm:ss``."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def number(value: object) -> str:
    """A metric with four decimals, or nothing."""
    return f"{value:.4f}" if isinstance(value, int | float) else ""


def _running(cell: Cell, progress: Progress | None) -> str:
    name = cell.run.name.rpartition("_")[0] or cell.run.name
    if progress is None:
        return f"{name} starting"
    return (
        f"{name} {progress.step}/{progress.steps}"
        if progress.phase == "train"
        else f"{name} {progress.phase}"
    )

"""The cells below a runs folder: those that sweeps expected and those that have a directory."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import Any

from retrieval.run.directory import RunDirectory
from retrieval.run.files import read_json, read_status
from retrieval.run.ownership import lives
from sweeps.launch.display import duration, error_line
from sweeps.table import READERS, run_names

ORDER = ("running", "failed", "stopped", "waiting", "done")
"""States in the order of a person's interest. ``waiting`` = expected, never started; ``stopped`` = its
process is gone without an end, the next sweep resumes it."""


@dataclass(frozen=True)
class CellStatus:
    """One cell as found on disk."""

    run: str
    state: str
    step: int = 0
    steps: int = 0
    first_step: int = 0
    """Where the last attempt began."""
    phase: str | None = None
    seconds: float | None = None
    """Duration of the last attempt, up to now if it is running."""
    pairs_per_second: float | None = None
    """Throughput, of running cells."""
    error: str = ""
    """Type and last line of the error."""

    @property
    def seconds_left(self) -> float | None:
        """Of the training, by the pace so far; ``None`` if it cannot be told."""
        done = self.step - self.first_step
        if self.state != "running" or done <= 0 or not self.steps or self.seconds is None:
            return None
        return self.seconds * (self.steps - self.step) / done


def take_inventory(runs: Path) -> list[CellStatus]:
    """All cells, in the order of :data:`ORDER` and by name.

    Raises TableError: ``runs`` does not exist.
    """
    names, expected = run_names(runs), expected_runs(runs)
    with ThreadPoolExecutor(READERS) as pool:
        found = list(pool.map(lambda name: look(runs / name), sorted({*names, *expected}), chunksize=64))
    cells = [cell for cell in found if cell.state != "waiting" or cell.run in expected]
    return sorted(cells, key=lambda cell: (ORDER.index(cell.state), cell.run))


def expected_runs(runs: Path) -> set[str]:
    """Names of the runs that some sweep's record lists."""
    found: set[str] = set()
    for path in _records(runs):
        cells = (read_json(path) or {}).get("cells")
        entries = cells if isinstance(cells, list) else []
        names = (entry.get("run") for entry in entries if isinstance(entry, dict))
        found.update(name for name in names if isinstance(name, str))
    # A record must not lead out of the folder of the runs.
    return {name for name in found if name == Path(name).name and name[:1] != "." and name.isprintable()}


def sweep_is_alive(runs: Path) -> bool:
    """Whether the process of some sweep of this folder lives."""
    return any(lives(read_status(path) or {}, path) for path in _records(runs))


def _records(runs: Path) -> list[Path]:
    return sorted((runs / ".sweeps").glob("*/sweep*.json"))


def look(folder: Path) -> CellStatus:
    """The state of one run directory."""
    directory = RunDirectory(folder)
    state = directory.state()
    if state == "absent":
        return CellStatus(folder.name, "waiting")
    status = directory.status() or {}
    end = datetime.now(UTC) if state == "running" else _time(status.get("finished") or status.get("updated"))
    begun = _time(status.get("started"))
    return CellStatus(
        run=folder.name,
        state=state,
        step=int(status.get("step") or 0),
        steps=int(status.get("steps") or 0),
        first_step=int(status.get("first_step") or 0),
        phase=status.get("phase"),
        # A clock that was set back must not show a negative time.
        seconds=max(0.0, (end - begun).total_seconds()) if end and begun else None,
        pairs_per_second=_throughput(folder / "metrics.jsonl") if state == "running" else None,
        error=error_line(status.get("error") if state == "failed" else None, -1),
    )


def counts(cells: Iterable[CellStatus]) -> str:
    """``12 expected: 8 done, 2 running, 1 failed, 1 waiting``."""
    cells = list(cells)
    number = Counter(cell.state for cell in cells)
    shown = [f"{number[state]} {state}" for state in reversed(ORDER) if number[state]]
    return f"{len(cells)} expected" + (f": {', '.join(shown)}" if shown else "")


def outlook(cells: Sequence[CellStatus]) -> str:
    """``2 running at 340 pairs/s, about 0:03:10 left`` of all that is expected; nothing where none runs."""
    running = [cell for cell in cells if cell.state == "running"]
    if not running:
        return ""
    rate = sum(cell.pairs_per_second or 0.0 for cell in running)
    text = f"{len(running)} running at {rate:,.0f} pairs/s"
    took = [cell.seconds for cell in cells if cell.state == "done" and cell.seconds is not None]
    left = [cell.seconds_left for cell in running if cell.seconds_left is not None]
    waiting = sum(cell.state in ("waiting", "stopped") for cell in cells)
    if not left or (waiting and not took):
        return text
    each = fmean(took) if took else 0.0
    seconds = max(max(left), (sum(left) + waiting * each) / len(running))
    return f"{text}, about {duration(seconds)} left"


def named(runs: Path, cells: Sequence[CellStatus], state: str) -> list[RunDirectory]:
    """Directories of the cells in ``state``."""
    return [RunDirectory(runs / cell.run) for cell in cells if cell.state == state]


def _time(text: Any) -> datetime | None:
    try:
        time = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return time if time.tzinfo is not None else None


def _throughput(path: Path, tail: int = 4096) -> float | None:
    """``train/pairs_per_second`` of the last whole line, read from the end of the file."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, handle.seek(0, os.SEEK_END) - tail))
            lines = handle.read().split(b"\n")
        return float(json.loads(lines[-2])["train/pairs_per_second"])
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return None

"""What a probe of this machine found, as kept in the cache; without PyTorch, which the probe itself needs."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import metadata
from multiprocessing import connection
from pathlib import Path

import retrieval
from retrieval.data.cache import digest, is_complete
from retrieval.run.manifest import cpu_model
from retrieval.run.resources import available_cores
from sweeps.launch.cells import Cell
from sweeps.launch.display import Display
from sweeps.launch.machines import Calibration, Point
from sweeps.launch.process import Child, Job

POINTS = "points.json"
WIDTHS = (128, 256, 512)
LAYERS, PAIRS, STEPS, VOCABULARY = 2, 64, 3, 16384
MOST_THREADS = 8
"""Threads whose speed-up is measured: all cores of the machine, but no more than these."""

PATIENCE = 120.0
"""Seconds after which a probe (of a few seconds) is given up."""


def folder(cache: Path, precision: str) -> Path:
    """Where the findings about this machine are: one folder a processor, PyTorch, precision and code."""
    machine = [cpu_model(), probed_threads(), metadata.version("torch"), precision]
    return cache / "machine" / f"probe-{digest([*machine, _code(), WIDTHS, LAYERS, PAIRS, STEPS])[:16]}"


def probed_threads() -> int:
    """Threads whose speed-up over one a probe measures."""
    return min(available_cores(), MOST_THREADS)


def known(cache: Path, precision: str) -> Calibration | None:
    """What an earlier probe found; ``None`` where there was none."""
    found = folder(cache, precision)
    if not is_complete(found):
        return None
    points = json.loads((found / POINTS).read_text(encoding="utf-8"))
    return Calibration([Point(**point) for point in points])


def keep(into: Path, calibration: Calibration) -> None:
    """Write the findings into a folder."""
    (into / POINTS).write_text(json.dumps([asdict(point) for point in calibration.points]), encoding="utf-8")


def calibrated(
    cells: Sequence[Cell], worker: str | None, environment: Mapping[str, str], display: Display
) -> Calibration | None:
    """What a probe found, made now if none was; ``None`` where it cannot be made, which is said.

    Args:
        cells: Of the sweep; the first says where the cache is and which precision is meant.
        worker: The function that probes, as ``module:name``; it returns its findings as plain values.
        environment: Of the probing process.
        display: For what is to be said.
    """
    config = cells[0].config
    found = known(Path(config.cache), str(config.train.precision))
    if found is not None or worker is None:
        return found
    child = Child(Job(worker, config, 1, environment=environment))
    deadline = time.monotonic() + PATIENCE
    try:
        while not child.ended() and time.monotonic() < deadline:
            connection.wait(child.waitables, 1.0)
    except BaseException:
        child.kill()
        raise
    if not child.ended():
        child.kill()
    if child.message is None or child.message.kind != "done":
        reason = child.reason()["message"].splitlines()[0]
        display.say(f"cannot probe this machine ({reason}); slots and threads by assumed speeds", "yellow")
        return None
    found = Calibration([Point(**point) for point in child.message.result])
    if any(point.exponent is None for point in found.points):
        display.say("other programs keep this machine busy: threads by assumed speed-ups, not by a probe")
    return found


def _code() -> str:
    """Digest of the code whose speed is measured."""
    root = Path(retrieval.__file__).parent
    files = sorted(path for part in ("models", "training") for path in (root / part).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

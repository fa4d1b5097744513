"""What a probe of this machine found, as kept in the cache; without PyTorch, which the probe itself needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import cast

from omegaconf import DictConfig

import retrieval
from retrieval.data.cache import digest, is_complete
from retrieval.run.manifest import cpu_model
from retrieval.run.resources import available_cores
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


def folder(config: DictConfig) -> Path:
    """Where the findings about this machine are: one folder a processor, PyTorch, precision and code."""
    machine = [cpu_model(), probed_threads(), metadata.version("torch"), str(config.train.precision)]
    key = digest([*machine, _code(), WIDTHS, LAYERS, PAIRS, STEPS])
    return Path(config.cache) / "machine" / f"probe-{key[:16]}"


def probed_threads() -> int:
    """Threads whose speed-up over one a probe measures."""
    return min(available_cores(), MOST_THREADS)


def known(config: DictConfig) -> Calibration | None:
    """What an earlier probe found; ``None`` where there was none."""
    found = folder(config)
    if not is_complete(found):
        return None
    points = json.loads((found / POINTS).read_text(encoding="utf-8"))
    return Calibration([Point(**point) for point in points])


def calibrated(
    config: DictConfig, worker: str | None, environment: Mapping[str, str], display: Display
) -> Calibration | None:
    """What a probe found, made now if none was; ``None`` where it cannot be made, which is said.

    ``config``: ``cache`` and ``train.precision`` are read; ``worker``: the function that probes, as
    ``module:name``, ``None`` = no new probe; ``environment``: of its process.
    """
    found = known(config)
    if found is not None or worker is None:
        return found
    child = Child(Job(worker, config, 1, environment=environment))
    child.wait(PATIENCE)
    if child.message is None or child.message.kind != "done":
        reason = child.reason()["message"].splitlines()[0]
        display.say(f"cannot probe this machine ({reason}); slots and threads by assumed speeds", "yellow")
        return None
    found = cast(Calibration, child.message.result)
    if any(point.exponent is None for point in found.points):
        display.say("other programs keep this machine busy: threads by assumed speed-ups, not by a probe")
    return found


def _code() -> str:
    """Digest of the code whose speed is measured."""
    root = Path(retrieval.__file__).parent
    files = sorted(path for part in ("models", "training") for path in (root / part).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

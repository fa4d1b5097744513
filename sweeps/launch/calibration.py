"""What a probe of this machine found, as kept in the cache; without PyTorch, which the probe itself needs."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from omegaconf import DictConfig

import retrieval
from retrieval.data.cache import digest, is_complete
from retrieval.run.manifest import cpu_model
from retrieval.run.resources import available_cores

POINTS = "points.json"
WIDTHS = (128, 256, 512)
LAYERS, PAIRS, STEPS, VOCABULARY = 2, 64, 3, 16384
MOST_THREADS = 8
"""Threads whose speed-up is measured: all cores of the machine, but no more than these."""


@dataclass(frozen=True)
class Point:
    """Measured over estimated time on one core, at one width."""

    hidden: int
    train: float
    encode: float
    exponent: float | None = None
    """t threads train t**exponent times as fast as one; ``None`` = not measured, the machine was busy."""


@dataclass(frozen=True)
class Calibration:
    """What a probe of this machine found, by ascending width."""

    points: Sequence[Point]

    def train(self, hidden: int) -> float:
        """Factor on the estimated time of training."""
        return math.exp(self._between(hidden, [math.log(point.train) for point in self.points]))

    def encode(self, hidden: int) -> float:
        """Factor on the estimated time of evaluation."""
        return math.exp(self._between(hidden, [math.log(point.encode) for point in self.points]))

    def exponent(self, hidden: int) -> float | None:
        """Of the speed-up by threads in training; ``None`` where it was not measured."""
        found = [point.exponent for point in self.points if point.exponent is not None]
        return self._between(hidden, found) if len(found) == len(self.points) else None

    def _between(self, hidden: int, values: Sequence[float]) -> float:
        """Interpolated over the logarithm of the width; the outermost point's beyond the range."""
        import numpy as np  # not when a sweep starts, which need not be calibrated

        return float(np.interp(math.log(hidden), [math.log(point.hidden) for point in self.points], values))


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


def _code() -> str:
    """Digest of the code whose speed is measured."""
    root = Path(retrieval.__file__).parent
    files = sorted(path for part in ("models", "training") for path in (root / part).rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

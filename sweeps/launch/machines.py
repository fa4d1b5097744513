"""How fast cells run: this machine, by a probe of its own, or a named accelerator, by assumption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ASSUMED_MFU = 0.4
"""Share of the peak that training is assumed to reach at a width of 768 and more, ..."""

FULL_WIDTH = 768
"""... and proportionally less in narrower models."""

LAUNCH_SECONDS = 6e-4
"""Least time of a layer and step on an accelerator: some 60 kernels that are launched one by one."""


@dataclass(frozen=True)
class Accelerator:
    """A device by its data sheet."""

    name: str
    peak: float
    """Dense bf16 FLOP/s."""
    memory: int
    """Bytes."""

    def rate(self, hidden: int) -> float:
        """FLOP/s assumed in training a model of that width."""
        return self.peak * ASSUMED_MFU * min(1.0, hidden / FULL_WIDTH)


ACCELERATORS: dict[str, Accelerator] = {
    device.name: device
    for device in (
        Accelerator("b200", 2.25e15, 180 * 10**9),
        Accelerator("h200", 9.89e14, 141 * 10**9),
        Accelerator("h100", 9.89e14, 80 * 10**9),
        Accelerator("a100", 3.12e14, 80 * 10**9),
        Accelerator("a100-40gb", 3.12e14, 40 * 10**9),
        Accelerator("l40s", 3.62e14, 48 * 10**9),
        Accelerator("a10", 1.25e14, 24 * 10**9),
        Accelerator("l4", 1.21e14, 24 * 10**9),
        Accelerator("rtx4090", 1.65e14, 24 * 10**9),
    )
}
"""Peaks without sparsity, from the manufacturer's data sheets."""


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

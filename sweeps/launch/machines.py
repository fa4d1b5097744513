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
        return self._at(hidden, [point.train for point in self.points])

    def encode(self, hidden: int) -> float:
        """Factor on the estimated time of evaluation."""
        return self._at(hidden, [point.encode for point in self.points])

    def exponent(self, hidden: int) -> float | None:
        """Of the speed-up by threads in training; ``None`` where it was not measured."""
        found = [point.exponent for point in self.points if point.exponent is not None]
        # Interpolated as a factor: a speed-up of e**exponent.
        return math.log(self._at(hidden, [*map(math.exp, found)])) if len(found) == len(self.points) else None

    def _at(self, hidden: int, factors: Sequence[float]) -> float:
        """Interpolated in the logarithms of both; the outermost point beyond the range."""
        widths = [math.log(point.hidden) for point in self.points]
        x = min(max(math.log(hidden), widths[0]), widths[-1])
        for (left, a), (right, b) in zip(
            zip(widths, factors, strict=True), list(zip(widths, factors, strict=True))[1:], strict=False
        ):
            if x <= right:
                share = (x - left) / (right - left)
                return math.exp((1 - share) * math.log(a) + share * math.log(b))
        return factors[-1]

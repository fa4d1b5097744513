"""``frontier.json``: what ``python -m sweeps frontier`` writes and the report reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sweeps.diagnostics import Diagnostic
from sweeps.records import OPTIONAL, SPREAD, Record
from sweeps.table.source import Source


@dataclass(frozen=True)
class Knee(Record):
    """The Pareto-efficient point of a frontier."""

    x: float
    y: float
    rule: str
    configuration: str
    rule_in_words: str


@dataclass(frozen=True, kw_only=True)
class Point(Record):
    """A configuration: means over its seeds."""

    configuration: str
    label: str
    size: dict[str, Any] = field(metadata=SPREAD)
    """``model``, ``frac``, N and D under their columns' names, as far as the table has them."""
    runs: list[str]
    seeds: list[Any]
    x: float
    y: float
    sd_x: float | None
    sd_y: float | None
    non_dominated: bool
    probability_non_dominated: float | None
    """Under seed noise; ``None`` without replicates."""
    dominated_by: list[str]


@dataclass(frozen=True)
class Hypervolume(Record):
    """The dominated area."""

    value: float
    interval: list[float] | None
    reference: list[float]
    """Worst corner."""


@dataclass(frozen=True)
class Front(Record):
    """The frontier of one set of configurations, in the metrics' own units."""

    x: str
    y: str
    knee: Knee
    rho: float | None
    """ρ* = R*/E*; ``None`` where the metrics are not both losses."""
    rho_interval: list[float] | None
    omega_0: float | None
    points: list[Point]
    hypervolume: Hypervolume

    @property
    def best(self) -> list[Point]:
        """The non-dominated points in order of x."""
        return sorted((point for point in self.points if point.non_dominated), key=lambda point: point.x)


@dataclass(frozen=True, kw_only=True)
class Cell(Record):
    """The frontier of one value of the grouping columns."""

    where: dict[str, Any]
    front: Front = field(metadata=SPREAD)


@dataclass(frozen=True)
class Change(Record):
    """Relative change of the knee per doubling of a resource."""

    x: float
    x_interval: list[float] | None
    y: float
    y_interval: list[float] | None


@dataclass(frozen=True, kw_only=True)
class Frontier(Record):
    """The whole record."""

    command: ClassVar[str] = "frontier"

    front: Front = field(metadata=SPREAD)
    """Over all configurations."""
    steers: bool
    """Whether training may follow it: both metrics are dev metrics."""
    by: list[str]
    n_runs: int
    n_left_out: int
    groups: list[Cell]
    scaling: dict[str, Change]
    warnings: list[Diagnostic]
    source: Source | None = field(default=None, metadata=OPTIONAL)

"""``frontier.json``: what ``python -m sweeps frontier`` writes and the report reads."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sweeps.diagnostics import Diagnostic
from sweeps.fitting.present import describe_warnings
from sweeps.records import OPTIONAL, SPREAD, Record
from sweeps.table.runs import Source


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


def describe(record: Frontier, out: Path) -> list[str]:
    """Lines for the terminal: the frontier, the knee, what it means for ω, warnings, its use."""
    front = record.front
    lines = [f"{len(front.best)} of {len(front.points)} configurations are non-dominated:"]
    for point in front.best:
        chance = point.probability_non_dominated
        sure = "" if chance is None else f"   P(non-dominated) {chance:.2f}"
        lines.append(f"  {point.configuration:40} {point.x:9.4f} {point.y:9.4f}{sure}")
    knee, area = front.knee, front.hypervolume
    lines.append(f"knee ({knee.rule}): {knee.configuration}, {knee.x:.4f}, {knee.y:.4f}")
    if front.rho is not None:
        lines.append(f"ρ* = R*/E* = {front.rho:.4f}, ω₀ = R*/(E*+R*) = {front.omega_0:.4f}")
    ends = "" if area.interval is None else f" [{area.interval[0]:.4g}, {area.interval[1]:.4g}]"
    lines.append(f"hypervolume {area.value:.4g}{ends}, reference {area.reference}")
    if record.steers:
        use = f"for training: strategy=pareto strategy.frontier={out}"
    else:
        use = "for reporting, it is drawn in test metrics; for training: python -m sweeps frontier --dev"
    return [*lines, *describe_warnings(record.warnings), use]

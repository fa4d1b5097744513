"""``compare.json``: what ``python -m sweeps compare`` writes and the report reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sweeps.diagnostics import Diagnostic
from sweeps.records import OPTIONAL, Record
from sweeps.table.source import Source


@dataclass(frozen=True)
class Judged(Record):
    """Strategy less baseline in one cell and metric."""

    baseline: float
    strategy: float
    """Means over the seeds that count."""
    difference: float
    low: float | None
    high: float | None
    p: float | None
    """Two-sided, of no difference; ``None`` with the interval where seeds are too few."""
    n: int
    """Pairs; 0 where nothing is paired."""
    df: float | None
    method: str
    """``paired``, ``unpaired`` (Welch 1947) or ``none``."""
    p_holm: float | None = None
    """Corrected over the cells."""
    better: str | None = None
    """``strategy`` or ``baseline`` where that is decided."""


@dataclass(frozen=True)
class Seeds(Record):
    """Which seeds were run."""

    shared: list[Any]
    baseline_only: list[Any]
    strategy_only: list[Any]


@dataclass(frozen=True)
class Line(Record):
    """One cell."""

    where: dict[str, Any]
    name: str
    baseline: str
    """Label of the baseline here."""
    omega: float | None
    """Of a baseline that keeps it."""
    seeds: Seeds
    by: dict[str, Judged]
    """By metric, and ``mean``."""


@dataclass(frozen=True)
class Count(Record):
    """In how many cells each side is better, after correction."""

    strategy: int
    baseline: int
    undecided: int


@dataclass(frozen=True)
class CellRegret(Record):
    """What a policy loses in one cell; positive is worse than the best, in the metric's unit."""

    regret: float
    low: float | None
    high: float | None
    n: int
    df: float | None


@dataclass(frozen=True)
class Policy(Record):
    """Regret of one label."""

    worst: float | None
    worst_cell: str | None
    mean: float | None
    missing: list[str]
    """Cells that it was not run in."""
    cells: dict[str, CellRegret]


@dataclass(frozen=True)
class Verdict(Record):
    """Whether the strategy's worst regret is below that of every single ω that was run in all cells."""

    strategy_worst: float | None
    best_single: str | None
    best_single_worst: float | None
    better_than_any_single: bool | None


@dataclass(frozen=True)
class Against(Record):
    """Regrets against the best fixed ω of each cell, chosen in one way."""

    best: dict[str, str]
    """Cell -> label."""
    policies: dict[str, Policy]
    verdict: Verdict


@dataclass(frozen=True)
class Ways(Record):
    """Both ways to choose the best; ``None`` where it cannot be chosen."""

    reported: Against | None
    """By the metric that is reported."""
    dev: Against | None
    """On dev metrics."""

    def known(self, metric: str) -> dict[str, Against]:
        """Those that there are, by how the best was chosen."""
        ways = {f"chosen by {metric}": self.reported, "chosen on dev": self.dev}
        return {words: found for words, found in ways.items() if found is not None}


@dataclass(frozen=True)
class Regret(Record):
    """Regret of the strategy and of every fixed ω."""

    candidates: dict[str, float]
    """Label -> ω."""
    cells: list[str]
    by: dict[str, Ways]
    """By metric, and ``mean``."""

    def title(self, label: str) -> str:
        """The label, with its ω where that is not in its name."""
        return f"{label} (ω = 0)" if label == "standard" and label in self.candidates else label


@dataclass(frozen=True)
class Comparison(Record):
    """The whole record."""

    command: ClassVar[str] = "compare"

    baseline: str
    strategy: str
    metrics: list[str]
    by: list[str]
    level: float
    chosen_on: list[str] | None
    """What the baseline is chosen on in each cell, if it is."""
    correction: str
    cells: list[Line]
    counts: dict[str, Count]
    """By metric, and ``mean``."""
    regret: Regret | None
    warnings: list[Diagnostic]
    source: Source | None = field(default=None, metadata=OPTIONAL)

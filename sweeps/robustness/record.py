"""``robustness.json``: what ``python -m sweeps robustness`` writes and the report reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from sweeps.diagnostics import Diagnostic
from sweeps.records import OPTIONAL, Record
from sweeps.table.runs import Source


@dataclass(frozen=True)
class Effect(Record):
    """A fixed effect of the mixed model, in the unit of the metric."""

    name: str
    """``strategy=pareto``, ``model_family=sparse``, ``doubling N`` or ``doubling D``."""
    against: str
    """What the effect is held against; empty for doublings."""
    estimate: float
    low: float
    high: float
    p: float
    p_holm: float
    """Corrected over the effects of this model."""
    size: float
    """The estimate in standard deviations of a query's score within a collection."""
    words: str
    """The effect as a sentence."""


@dataclass(frozen=True)
class Mixed(Record):
    """A linear mixed-effects model of the scores of one kind."""

    formula: str
    n_runs: int
    n_scores: int
    df: int
    """Degrees of freedom of the t intervals: runs less between-run coefficients."""
    effects: list[Effect]
    variances: dict[str, float]
    """``model`` (fixed effects), ``run``, ``collection``, ``query``, ``run × collection``, ``residual``."""
    shares: dict[str, float]
    """The same as shares of their sum."""
    query_sd: float
    """Standard deviation of a query's score within a collection: the unit of :attr:`Effect.size`."""
    converged: bool


@dataclass(frozen=True)
class Difference(Record):
    """First less second, paired by run and query."""

    first: str
    second: str
    difference: float
    """Unweighted mean over collections."""
    low: float
    high: float
    p: float
    p_holm: float
    """Of these collections: queries and seeds are drawn anew."""
    domains: tuple[float, float] | None
    """Of collections like these, which are drawn anew too; ``None`` with one."""
    pairs: int
    """Pairs of runs."""
    cells: int
    words: str


@dataclass(frozen=True)
class Win(Record):
    """Share of (collection, query) pairs at which the first is better than the second; a tie is half."""

    first: str
    second: str
    probability: float
    low: float
    high: float
    p: float
    p_holm: float
    """Of one half."""


@dataclass(frozen=True)
class KindStatistics(Record):
    """All about one kind."""

    kind: str
    runs: int
    collections: dict[str, int]
    """Collection -> queries."""
    mixed: Mixed | None
    differences: list[Difference]
    wins: list[Win]


@dataclass(frozen=True)
class Robustness(Record):
    """The whole record."""

    command: ClassVar[str] = "robustness"

    metric: str
    by: str
    baseline: str
    level: float
    bootstrap: int
    seed: int
    correction: str
    kinds: list[KindStatistics]
    warnings: list[Diagnostic]
    source: Source | None = field(default=None, metadata=OPTIONAL)

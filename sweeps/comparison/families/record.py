"""``families.json``: what ``python -m sweeps families`` writes and the report reads."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from sweeps.diagnostics import Diagnostic
from sweeps.records import OPTIONAL, Record
from sweeps.table.runs import Source

Ends = tuple[float, float]

RHO, SLOPE = "rho", "slope"
"""What of a trade-off is compared, see :class:`Shift`."""


@dataclass(frozen=True)
class Slope(Record):
    """How a metric falls with a resource in one family."""

    resource: str
    """``N`` or ``D``."""
    kind: str
    """``exponent`` of the law, or ``local``: −∂ln metric/∂ln resource at :attr:`Law.centre`."""
    value: float
    profile: tuple[float | None, float | None] | None
    """Profile-likelihood interval of an exponent; ``None`` is an end that the data leave open."""
    bootstrap: Ends | None
    """Percentile interval; ``None`` with too few configurations to resample."""


@dataclass(frozen=True)
class Law(Record):
    """The law of one family, strategy and metric."""

    family: str
    strategy: str
    metric: str
    law: str
    formula: str
    at: dict[str, float]
    """Value of the resource that a law in one of them holds fixed; empty for a law in N and D."""
    n_runs: int
    n_configs: int
    range: dict[str, Ends]
    """Fitted range of N and D."""
    params: dict[str, float]
    centre: dict[str, float]
    """Where local slopes are taken: the middle of what all families were run at; empty without any."""
    slopes: list[Slope]
    codes: list[str]
    """Of the findings on the fit."""


@dataclass(frozen=True)
class SlopeTest(Record):
    """Whether two families differ in a slope."""

    strategy: str
    metric: str
    law: str
    resource: str
    kind: str
    first: str
    second: str
    """Families."""
    difference: float
    """Second less first."""
    interval: Ends | None
    p: float | None
    """Two-sided, of no difference; ``None`` without draws enough."""
    p_holm: float | None
    """Corrected over the pairs of families."""
    method: str
    """``paired``: both families drawn at the same configurations and seeds; ``independent``; ``none``."""
    differs: bool | None
    """Whether p_holm is below 1 − level."""


@dataclass(frozen=True)
class Gap(Record):
    """Two families at equal amounts of something."""

    strategy: str
    metric: str
    equal: str
    """``N and D``, ``N``, ``D`` or ``FLOPs``: of the last three one is held, the other interpolated along."""
    at: dict[str, float]
    """Where; empty for the mean over all places."""
    places: int
    """Number of places that the values are means over."""
    first: str
    second: str
    """Families."""
    first_value: float
    second_value: float
    """Means over the seeds that count."""
    difference: float
    """Second less first."""
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    """Corrected over the rows of one metric and ``equal``, means over places apart from places."""
    n: int
    """Pairs of seeds."""
    df: float | None
    method: str
    """``paired``, ``unpaired`` (Welch 1947) or ``none``."""
    interpolated: list[str]
    """Families whose value lies between measured ones."""
    better: str | None
    """The better family where p_holm is below 1 − level."""


@dataclass(frozen=True)
class Tradeoff(Record):
    """The frontier of one family, over all its runs or in one cell."""

    family: str
    where: dict[str, Any]
    """Model and fraction of a cell; empty over all runs."""
    n_configs: int
    n_non_dominated: int
    knee: str
    """Configuration."""
    x: float
    y: float
    """The two metrics at the knee."""
    rho: float | None
    """ρ* = R*/E*."""
    rho_interval: list[float] | None
    slope: float | None
    """dR/dE of the frontier at its knee: between its neighbours; ``None`` with one non-dominated point."""
    slope_interval: Ends | None
    hypervolume: float
    hypervolume_interval: list[float] | None
    points: list[tuple[float, float]]
    """The non-dominated ones, in order of x."""


@dataclass(frozen=True)
class Shift(Record):
    """Two families' trade-offs, over all runs or in one cell."""

    where: dict[str, Any]
    """Model and fraction of a cell; empty over all runs."""
    quantity: str
    """``rho``: ρ* = R*/E*. ``slope``: dR/dE of the frontier at its knee."""
    first: str
    second: str
    """Families."""
    first_value: float
    second_value: float
    difference: float
    """Second less first."""
    interval: Ends | None
    p: float | None
    """Two-sided, of no difference; ``None`` without seeds, or where too few draws define the quantity."""
    p_holm: float | None
    """Corrected over the pairs of families, in cells over all cells as well."""
    draws: int
    """Of seed noise, as far as they define the quantity in both families."""
    method: str
    """``paired``: deviations of the same runs are drawn in both families; ``independent``; ``none``."""
    differs: bool | None
    """Whether p_holm is below 1 − level."""


@dataclass(frozen=True)
class Counted(Record):
    """What one family was run at."""

    n_runs: int
    range: dict[str, Ends]
    """Of N, D and FLOPs, as far as the runs state them."""
    first_stage: str
    """What its rankings re-rank, or ``full ranking``."""


@dataclass(frozen=True)
class Families(Record):
    """The whole record."""

    command: ClassVar[str] = "families"

    families: dict[str, Counted]
    metrics: list[str]
    strategies: list[str]
    tolerance: float
    """Sizes this close, relatively, are equal."""
    level: float
    method: str
    """How slopes are tested, in words."""
    laws: list[Law]
    tests: list[SlopeTest]
    equal: list[Gap]
    reference: list[float]
    """Worst corner of all hypervolumes."""
    frontiers: list[Tradeoff]
    """One a family."""
    cells: list[Tradeoff]
    """One a family, model and fraction with three configurations or more."""
    shifts: list[Shift]
    """Where the trade-off shifts from family to family: over all runs, then in cells."""
    warnings: list[Diagnostic]
    source: Source | None = field(default=None, metadata=OPTIONAL)

    def pairs(self) -> list[tuple[str, str]]:
        """Families compared, in order."""
        names = list(self.families)
        return [(first, second) for k, first in enumerate(names) for second in names[k + 1 :]]

"""Where to spend a budget: the model size and the number of training pairs that minimise a fitted law.

Cost model, after arXiv 2403.18684 eq 12: Z(N, D) = annotation·D + training·N + inference·N, extended by a
term ``training_per_pair``·N·D for trainings whose length grows with the data.
"""

from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
from scipy import optimize

from retrieval.errors import ConfigError
from sweeps.diagnostics import Diagnostic
from sweeps.fitting.bootstrap import interval
from sweeps.fitting.laws import Floats
from sweeps.fitting.result import FitResult
from sweeps.records import Record

_GRID = 400
_SPAN = 1e8
"""Model sizes are searched this factor below and above the fitted range, as far as the budget reaches."""


@dataclass(frozen=True)
class CostModel(Record):
    """Prices in one currency; N in parameters and D in pairs, as in the fit."""

    annotation: float
    """Per training pair."""
    training: float = 0.0
    """Per parameter, for a training of fixed length (steps × batch × FLOPs × price of a FLOP)."""
    inference: float = 0.0
    """Per parameter, for all queries and passages to be encoded over the model's life."""
    training_per_pair: float = 0.0
    """Per parameter and training pair, for trainings whose length grows with the data."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not np.isfinite(value) or value < 0:
                raise ConfigError(f"cost {name}={value} must be a number of at least 0")
        if self.annotation + self.training_per_pair <= 0:
            raise ConfigError(
                "pairs cost nothing under this cost model, so no budget limits them; set annotation"
            )
        if self.training + self.inference + self.training_per_pair <= 0:
            raise ConfigError("parameters cost nothing under this cost model; set training or inference")

    def pairs(self, n: Floats, budget: float) -> Floats:
        """Pairs [k] that the budget leaves for models of ``n`` [k] parameters; ≤ 0 where it leaves none."""
        left = budget - (self.training + self.inference) * n
        return left / (self.annotation + self.training_per_pair * n)


@dataclass(frozen=True)
class Allocation(Record):
    """Best N and D for a budget."""

    budget: float
    n: float | None
    """Best model size; ``None`` when there is no interior optimum."""
    d: float | None
    value: float | None
    """Predicted metric there."""
    n_interval: tuple[float, float] | None
    d_interval: tuple[float, float] | None
    value_interval: tuple[float, float] | None
    interior: float
    """Share of bootstrap replicates that have an interior optimum."""
    reason: str
    """Empty, or why there is no interior optimum."""
    warnings: list[Diagnostic]


@dataclass(frozen=True)
class AllocationFile(Record):
    """What ``python -m sweeps allocate --out`` writes."""

    command: ClassVar[str] = "allocate"

    costs: CostModel
    groups: dict[str, list[Allocation]]
    """Group of the fit -> one for each budget."""


def allocate(fit: FitResult, costs: CostModel, budget: float) -> Allocation:
    """Minimise the fitted law over (N, D) of total cost ``budget``.

    The interval comes from the fit's bootstrap: every replicate is optimised anew. Raises ConfigError when
    the law lacks an axis or the budget is not positive.
    """
    if fit.form.axes != ("N", "D"):
        raise ConfigError(f"law {fit.law} has no trade-off between N and D; fit joint or additive")
    if not np.isfinite(budget) or budget <= 0:
        raise ConfigError(f"budget={budget} must be a positive number")
    sizes = _sizes(fit, costs, budget)
    best, reason = _optimum(fit, fit.vector, costs, budget, sizes)
    draws = [] if fit.bootstrap is None else list(fit.bootstrap.params)
    found = [point for point in (_optimum(fit, row, costs, budget, sizes)[0] for row in draws) if point]
    share = len(found) / len(draws) if draws else float(best is not None)
    if best is None:
        return Allocation(budget, None, None, None, None, None, None, share, reason, [])
    n, d, value = best
    if len(found) < 20:
        return Allocation(budget, n, d, value, None, None, None, share, "", fit.check(n, d))
    low, high = (part.tolist() for part in interval(np.array(found), fit.options.level))
    ends = [(low[place], high[place]) for place in range(3)]
    return Allocation(budget, n, d, value, ends[0], ends[1], ends[2], share, "", fit.check(n, d))


def _sizes(fit: FitResult, costs: CostModel, budget: float) -> Floats:
    """Model sizes [k] on a logarithmic grid that leave something to spend on pairs."""
    per_parameter = costs.training + costs.inference
    low, high = fit.range["N"]
    top = high * _SPAN
    if per_parameter > 0:
        top = min(top, budget / per_parameter * (1 - 1e-9))
    return np.geomspace(min(low / _SPAN, top / 10), top, _GRID)


def _optimum(
    fit: FitResult, params: Floats, costs: CostModel, budget: float, sizes: Floats
) -> tuple[tuple[float, float, float] | None, str]:
    """(N, D, metric) of the interior optimum, or None and the reason."""

    def value(log_n: Floats) -> Floats:
        n = np.exp(log_n)
        return np.log(fit.form.predict(params, n, np.maximum(costs.pairs(n, budget), 1e-300), fit.chance))

    logs = np.log(sizes)
    values = value(logs)
    place = int(np.argmin(values))
    if place in (0, len(sizes) - 1):
        end = "the smallest models" if place == 0 else "the largest models"
        return None, f"no interior optimum: at budget {budget:.4g} the law favours {end} without limit"
    result = optimize.minimize_scalar(
        lambda x: float(value(np.array([x]))[0]),
        bounds=(logs[place - 1], logs[place + 1]),
        method="bounded",
        options={"xatol": 1e-10},
    )
    n = float(np.exp(result.x))
    return (n, float(costs.pairs(np.array([n]), budget)[0]), float(np.exp(result.fun))), ""

"""``mixture.json``: what ``python -m sweeps mixture`` writes and training, the report and people read.

Mappings with the keys ``eff`` and ``rob`` hold something of each objective, those with ``knee``, ``eff`` and
``rob`` something of each goal.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from sweeps.diagnostics import Diagnostic
from sweeps.records import OPTIONAL, SPREAD, Record
from sweeps.table.runs import Source

VERSION = 1


@dataclass(frozen=True)
class Conditions(Record):
    """How the runs behind a law were trained: the one value of each."""

    train_steps: int
    pairs_per_step: float
    robust: str | None
    base_strategy: str | None
    data: str | None
    mixing: str


@dataclass(frozen=True)
class FormFit(Record):
    """One form fitted to one objective."""

    formula: str
    source: str
    parameters: int
    aicc: float
    delta_aicc: float
    weight: float
    rmse_log: float
    holdout: float | None
    """Root mean square of all hold-out errors."""
    errors: dict[str, list[float]]
    """Axis left out -> relative errors."""


@dataclass(frozen=True)
class Bounded(Record):
    """A parameter with its interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Omega(Record):
    """A best ω with its interval."""

    omega: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Held(Record):
    """The knee's ω of a cell, predicted without the largest level of an axis."""

    axis: str
    where: dict[str, Any] = field(metadata=SPREAD)
    params_non_embedding: float
    train_pairs: float
    goal: str
    predicted: Omega
    fitted: float
    """With all runs."""
    regret: float
    """E + R [nats] at the predicted ω less its least, under the law fitted to all runs."""


@dataclass(frozen=True)
class FittedRange(Record):
    """Least and largest N and D that were fitted."""

    params_non_embedding: list[float]
    train_pairs: list[float]


@dataclass(frozen=True)
class Optimum(Record):
    """The law of a goal's best ω: logit ω* = a + b·ln D + c·ln N."""

    intercept: float
    ln_train_pairs: float
    ln_params_non_embedding: float
    low: dict[str, float]
    high: dict[str, float]
    draws: list[list[float]]
    """a, b, c of every draw, [r, 3]."""
    max_error: float
    clipped: bool
    one_level: list[str]
    """Axes of which the table has one value, so that the coefficient is 0 and not fitted."""
    range: FittedRange


@dataclass(frozen=True)
class OnFrontier(Record):
    """A point of the predicted frontier."""

    omega: float
    eff: float
    rob: float


@dataclass(frozen=True)
class Measured(Record):
    """A configuration: means over seeds with their ranges."""

    omega: float
    eff: float
    rob: float
    n: int
    eff_range: list[float]
    rob_range: list[float]


@dataclass(frozen=True, kw_only=True)
class MixtureCell(Record):
    """A model size and a number of pairs that were run."""

    where: dict[str, Any] = field(metadata=SPREAD)
    params_non_embedding: float
    train_pairs: float
    n_runs: int
    optimum: dict[str, Omega]
    frontier: list[OnFrontier]
    measured: list[Measured]


@dataclass(frozen=True)
class OmegaPrediction(Record):
    """The best ω at a size that was asked for."""

    params_non_embedding: float
    train_pairs: float
    optimum: dict[str, Omega]
    warnings: list[Diagnostic]


@dataclass(frozen=True)
class Mixture(Record):
    """The whole record."""

    command: ClassVar[str] = "mixture"

    kind: Literal["mixture"]
    version: int
    metrics: dict[str, str]
    steers: bool
    """Whether training may read the file: both metrics are dev metrics."""
    conditions: Conditions
    by: list[str]
    level: float
    loss: str
    bootstrap: int
    seed: int
    n_runs: int
    n_left_out: int
    n_configs: int
    form: dict[str, str]
    formula: dict[str, str]
    chosen_by: str
    forms: dict[str, dict[str, FormFit]]
    """Best first."""
    params: dict[str, dict[str, Bounded]]
    rmse_log: dict[str, float]
    holdout: list[Held]
    optimum: dict[str, Optimum]
    cells: list[MixtureCell]
    predictions: list[OmegaPrediction]
    warnings: list[Diagnostic]
    source: Source | None = field(default=None, metadata=OPTIONAL)

"""Cost-optimal allocation against closed forms and brute force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from law_tables import COLUMNS, law_table

from retrieval.errors import ConfigError
from sweeps.fitting.allocation import CostModel, allocate
from sweeps.fitting.fit import fit_law
from sweeps.fitting.result import FitOptions, FitResult

PARAMS = {"A": 400.0, "alpha": 0.34, "B": 410.0, "beta": 0.28, "delta": 0.3}

FANG_2024 = CostModel(annotation=0.6, training=3.22e-8, inference=0.43)
"""arXiv 2403.18684, in dollars: 0.6 a pair; 10,000 steps of 256 pairs with 256 passages on A100s at 25 %
utilisation; inference on 30e12 texts of 512 tokens."""


@pytest.fixture(scope="module")
def additive() -> FitResult:
    table = law_table("additive", PARAMS)
    return fit_law(
        table, law="additive", metric="y", columns=COLUMNS, options=FitOptions(bootstrap=0, starts=50)
    )


def test_product_cost_has_the_closed_form_of_hoffmann(additive: FitResult) -> None:
    # Hoffmann et al. 2022, eq 4, with C = c·N·D in place of 6·N·D.
    price, budget = 2.0, 1e13
    best = allocate(additive, CostModel(annotation=0.0, training_per_pair=price), budget)
    a, b = PARAMS["alpha"], PARAMS["beta"]
    ratio = (a * PARAMS["A"] / (b * PARAMS["B"])) ** (1 / (a + b))
    assert best.n == pytest.approx(ratio * (budget / price) ** (b / (a + b)), rel=1e-4)
    assert best.d == pytest.approx(budget / price / best.n, rel=1e-9)
    assert best.value == pytest.approx(float(additive.predict(best.n, best.d)), rel=1e-9)


def test_linear_cost_satisfies_the_first_order_condition(additive: FitResult) -> None:
    costs = CostModel(annotation=0.6, training=3.22e-5)
    best = allocate(additive, costs, 20_000.0)
    assert costs.annotation * best.d + costs.training * best.n == pytest.approx(20_000.0, rel=1e-9)
    # At the optimum a unit of money lowers the metric equally on either side.
    step = 1e-4
    by_n = (additive.predict(best.n * (1 + step), best.d) - additive.predict(best.n * (1 - step), best.d)) / (
        2 * step * best.n * costs.training
    )
    by_d = (additive.predict(best.n, best.d * (1 + step)) - additive.predict(best.n, best.d * (1 - step))) / (
        2 * step * best.d * costs.annotation
    )
    assert by_n == pytest.approx(by_d, rel=1e-3)


def test_optimum_beats_a_grid_for_the_joint_law() -> None:
    fit = fit_law(law_table(), metric="y", columns=COLUMNS, options=FitOptions(bootstrap=0, starts=50))
    best = allocate(fit, FANG_2024, 1e8)
    sizes = np.geomspace(best.n / 100, best.n * 2, 5000)
    pairs = FANG_2024.pairs(sizes, 1e8)
    values = fit.predict(sizes[pairs > 0], pairs[pairs > 0])
    assert best.value <= values.min() * (1 + 1e-9)


def test_interval_comes_from_the_bootstrap_and_grows_with_noise() -> None:
    widths = []
    for noise in (0.005, 0.03):
        table = law_table("additive", PARAMS, seeds=2, seed_sd=noise)
        fit = fit_law(
            table, law="additive", metric="y", columns=COLUMNS, options=FitOptions(bootstrap=60, starts=50)
        )
        best = allocate(fit, CostModel(0.6, training=3.22e-5), 20_000.0)
        assert best.n_interval is not None
        low, high = best.n_interval
        assert low < best.n < high
        widths.append(np.log(high / low))
    assert widths[0] < 0.5 * widths[1]


def test_no_interior_optimum_is_said(additive: FitResult) -> None:
    flat = replace(additive, params={**additive.params, "A": 1e-30})
    best = allocate(flat, CostModel(0.6, training=1e-6), 1e4)
    assert (best.n, best.d, best.n_interval) == (None, None, None)
    assert "no interior optimum" in best.reason
    assert "the smallest models" in best.reason


def test_far_optimum_carries_a_warning(additive: FitResult) -> None:
    best = allocate(additive, CostModel(0.6, training=3.22e-5), 1e12)
    assert [warning.code for warning in best.warnings] == ["EXTRAPOLATION_FACTOR", "EXTRAPOLATION_FACTOR"]


def test_impossible_costs_are_refused(additive: FitResult) -> None:
    with pytest.raises(ConfigError, match="pairs cost nothing"):
        CostModel(annotation=0.0, training=1.0)
    with pytest.raises(ConfigError, match="parameters cost nothing"):
        CostModel(annotation=0.6)
    with pytest.raises(ConfigError, match=r"training=-1.0 must be a number of at least 0"):
        CostModel(annotation=0.6, training=-1.0)
    with pytest.raises(ConfigError, match="budget=0 must be a positive number"):
        allocate(additive, FANG_2024, 0)
    data = fit_law(law_table(), law="data", metric="y", columns=COLUMNS, options=FitOptions(bootstrap=0))
    with pytest.raises(ConfigError, match="no trade-off"):
        allocate(data, FANG_2024, 1e4)

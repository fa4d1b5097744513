"""Profile intervals against brute force, and what they say when the data leave an end open."""

from __future__ import annotations

import numpy as np
import pytest
from law_tables import COLUMNS, law_table
from scipy import optimize, stats

from sweeps.fitting.fit import fit_law
from sweeps.fitting.laws import Points, get_law
from sweeps.fitting.profile import covariance, profile_intervals
from sweeps.fitting.result import FitOptions
from sweeps.fitting.solver import Objective, Pin, minimise

QUICK = FitOptions(bootstrap=0, starts=50)


def objective_of(law: str, **design) -> Objective:
    table = law_table(seed_sd=0.01, **design)
    return Objective(get_law(law), Points.of(*[np.log(table[name].to_numpy()) for name in ("N", "D", "y")]))


@pytest.mark.parametrize("parameter", ["A", "alpha", "B", "beta", "delta"])
def test_ends_are_where_the_constrained_fit_gets_significantly_worse(parameter: str) -> None:
    objective = objective_of("joint")
    law, centre = objective.law, objective.points.centre
    best = minimise(objective, 60)
    interval = profile_intervals(objective, best.theta, best.cost, 0.95).intervals[parameter]
    index, count = law.parameters.index(parameter), len(objective.points.log_y)
    residual = 2 * best.cost / (count - law.size)
    allowed = stats.t.ppf(0.975, count - law.size) ** 2 * residual
    logs = law.to_logs(law.to_published(best.theta, centre))
    free = [position for position in range(law.size) if position != index]
    for end in interval:
        assert end is not None
        start = logs.copy()
        start[index] = end if parameter == "delta" else np.log(end)

        def residuals(rest: np.ndarray, start: np.ndarray = start) -> np.ndarray:
            moved = start.copy()
            moved[free] = rest
            return objective.residuals(law.to_centred(law.from_logs(moved), centre)[None])[0]

        squares = optimize.least_squares(residuals, start[free], x_scale="jac", xtol=1e-14, ftol=1e-14)
        rise = 2 * (squares.cost - best.cost)
        assert rise == pytest.approx(allowed, rel=2e-3)


def test_covariance_is_that_of_linearised_least_squares() -> None:
    objective = objective_of("additive")
    law, centre = objective.law, objective.points.centre
    best = minimise(objective, 60)
    logs = law.to_logs(law.to_published(best.theta, centre))
    columns = []
    for index in range(law.size):
        step = np.zeros(law.size)
        step[index] = 1e-6 * max(1.0, abs(logs[index]))
        ends = [law.to_centred(law.from_logs(logs + sign * step), centre) for sign in (1, -1)]
        slopes = objective.residuals(np.stack(ends))
        columns.append((slopes[0] - slopes[1]) / (2 * step[index]))
    jacobian = np.stack(columns, axis=1)
    residual = 2 * best.cost / (len(jacobian) - law.size)
    expected = np.linalg.inv(jacobian.T @ jacobian) * residual
    assert np.diag(covariance(objective, best.theta)) == pytest.approx(np.diag(expected), rel=1e-3)


def test_pinned_solution_keeps_the_pinned_value() -> None:
    objective = objective_of("joint")
    law, centre = objective.law, objective.points.centre
    best = minimise(objective, 60)
    pinned = law.to_published(best.theta, centre)[0] * 1.2
    theta, cost = objective.solve(best.theta[None], pin=Pin(0, np.log([pinned])))
    assert law.to_published(theta[0], centre)[0] == pytest.approx(pinned, rel=1e-10)
    assert cost[0] > best.cost


def test_slow_data_law_mostly_leaves_the_floor_open_although_r2_is_high() -> None:
    # The data law of the paper's first version: beta .19 over two decades of data.
    params = {"B": 2.37e-2, "beta": 0.19, "delta": 0.01}
    pairs = tuple(np.geomspace(5e3, 5e5, 6))
    opened = 0
    for random in range(20):
        table = law_table("data", params, [1e6], pairs, seeds=3, seed_sd=0.01, random=random)
        fit = fit_law(table, law="data", metric="y", columns=COLUMNS, options=QUICK, compare_forms=False)
        assert fit.r2["log"] > 0.99
        assert ("FLOOR_NOT_IDENTIFIED" in fit.codes) == (fit.intervals["delta"][0] == 0.0)
        opened += "FLOOR_NOT_IDENTIFIED" in fit.codes
    assert opened >= 16


def test_no_degrees_of_freedom_means_no_interval() -> None:
    table = law_table(sizes=[1e6], pairs=[1e4, 3e4, 1e5], seed_sd=0.01)
    fit = fit_law(table, law="data", metric="y", columns=COLUMNS, options=QUICK)
    assert set(fit.intervals.values()) == {(None, None)}
    assert fit.noise["residual_sd"] is None
    assert np.isnan(fit.mean_band(1e6, 1e4)[0])


def test_intervals_widen_with_the_level() -> None:
    table = law_table(seed_sd=0.01)
    widths = []
    for level in (0.5, 0.95, 0.99):
        options = FitOptions(bootstrap=0, level=level)
        low, high = fit_law(
            table, metric="y", columns=COLUMNS, options=options, compare_forms=False
        ).intervals["alpha"]
        widths.append(high - low)
    assert widths == sorted(widths)
    assert widths[0] < 0.5 * widths[1]

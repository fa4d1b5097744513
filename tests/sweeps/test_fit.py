"""Fits: published laws, a real table, invariances, bands, records."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_tables import COLUMNS, JOINT, OLMO, OLMO_COLUMNS, law_table
from scipy import optimize

from benchmarks.published import PUBLISHED
from retrieval.errors import DataError
from sweeps.fitting.fit import fit_law
from sweeps.fitting.groups import FitFile
from sweeps.fitting.laws import Points, chance_level, get_law
from sweeps.fitting.result import FitOptions, FitResult
from sweeps.fitting.solver import Objective, minimise

QUICK = FitOptions(bootstrap=0, starts=50)
RUNS = FitOptions(bootstrap=0, unit="run")


@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_laws_come_back_from_noise_free_tables(name: str) -> None:
    law, params = PUBLISHED[name]
    scale = 1e4 if law == "additive" else 1.0
    table = law_table(law, params)
    table["N"] *= scale
    table["D"] *= scale
    table["y"] = get_law(law).predict(params, table["N"], table["D"])
    fit = fit_law(table, law=law, metric="y", columns=COLUMNS, options=QUICK)
    assert fit.params == pytest.approx(params, rel=1e-6)
    assert fit.r2["log"] == pytest.approx(1.0, abs=1e-12)
    assert fit.starts["agreeing"] >= 0.5 * fit.starts["tried"]


@pytest.mark.parametrize(
    ("law", "params"),
    [
        ("model-no-floor", {"A": 3e4, "alpha": 0.4}),
        ("data-no-floor", {"B": 5e3, "beta": 0.3}),
        ("data-shifted", {"B": 6e4, "beta": 0.7, "D0": 2e4, "delta": 0.15}),
        ("model-bounded", {"A": 3e6, "alpha": 0.4, "delta": 0.3}),
        ("data-bounded", {"B": 8e4, "beta": 0.6, "delta": 0.3}),
        ("joint-no-floor", {"A": 3.6e4, "alpha": 0.56, "B": 7.1e3, "beta": 1.31}),
        ("joint-bounded", {"A": 2e6, "alpha": 0.5, "B": 2e4, "beta": 0.8, "delta": 0.2}),
        ("additive-no-floor", {"A": 40.0, "alpha": 0.34, "B": 30.0, "beta": 0.38}),
        ("additive-bounded", {"A": 40.0, "alpha": 0.34, "B": 30.0, "beta": 0.38, "delta": 0.1}),
    ],
)
def test_every_other_form_comes_back_from_a_noise_free_table(law: str, params: dict[str, float]) -> None:
    chance = chance_level(256)
    table = law_table(law, params, chance=chance)
    options = replace(QUICK, chance=chance)
    fit = fit_law(table, law=law, metric="y", columns=COLUMNS, options=options, compare_forms=False)
    assert fit.params == pytest.approx(params, rel=1e-6)


# law: parameters, rmse of ln, R² of ln, AICc, errors at the two held-out models; as in the table's README.
OLMO_EXPECTED = {
    "additive": (
        {"A": "110.5", "alpha": ".2658", "B": "23.18", "beta": ".1342", "delta": "1.7248"},
        (".00522", ".99648", "-299.7", "-.71", "-1.21"),
    ),
    "joint": (
        {"A": "1.449e9", "alpha": ".2120", "B": "9.809e10", "beta": ".1654", "delta": "1.7640"},
        (".00218", ".99938", "-351.9", ".81", "-.70"),
    ),
    "additive-no-floor": ({}, (None, ".99492", "-291.8", "-1.46", "-3.15")),
}
OLMO_SMALL = {
    "additive": ("1.493", "-239.2", "-1.12", "-2.27"),
    "additive-no-floor": (None, "-242.1", "-2.47", "-4.45"),
    "joint": (None, "-275.6", "-.43", "-2.50"),
}


def printed(text: str) -> object:
    """Equal to the printed number within half a unit of its last digit."""
    digits = len(text.split("e")[0].split(".")[1])
    exponent = int(text.split("e")[1]) if "e" in text else 0
    return pytest.approx(float(text), abs=0.5000001 * 10.0 ** (exponent - digits))


def olmo() -> tuple[pd.DataFrame, pd.DataFrame]:
    if not OLMO.exists():
        pytest.skip(f"no table at {OLMO}")
    table = pd.read_csv(OLMO)
    return table[table["split"] == "fit"], table[table["split"] == "target"]


def target_errors(fit: FitResult, targets: pd.DataFrame) -> list[float]:
    predicted = fit.predict(targets["params_non_embedding"], targets["tokens"])
    return list(100 * (predicted / targets["c4_en"].to_numpy() - 1))


@pytest.mark.parametrize("law", list(OLMO_EXPECTED))
def test_real_table_gives_the_values_of_its_readme(law: str) -> None:
    table, targets = olmo()
    params, (rmse, r2, aicc, *errors) = OLMO_EXPECTED[law]
    fit = fit_law(table, law=law, metric="c4_en", columns=OLMO_COLUMNS, options=RUNS, compare_forms=False)
    assert fit.n_runs == 30
    for name, text in params.items():
        assert fit.params[name] == printed(text), name
    if rmse is not None:
        assert fit.rmse_log == printed(rmse)
    assert fit.r2["log"] == printed(str(r2))
    assert fit.aicc[law] == printed(str(aicc))
    assert target_errors(fit, targets) == [printed(str(text)) for text in errors]
    assert "LACK_OF_FIT" in fit.codes


@pytest.mark.parametrize("law", list(OLMO_SMALL))
def test_real_table_below_three_billion(law: str) -> None:
    table, targets = olmo()
    delta, aicc, *errors = OLMO_SMALL[law]
    small = table[table["size"] != "3B"]
    fit = fit_law(small, law=law, metric="c4_en", columns=OLMO_COLUMNS, options=RUNS, compare_forms=False)
    assert fit.n_runs == 24
    if delta is not None:
        assert fit.params["delta"] == printed(delta)
    assert fit.aicc[law] == printed(str(aicc))
    assert target_errors(fit, targets) == [printed(str(text)) for text in errors]


def test_real_table_prefers_the_joint_form_and_flags_lack_of_fit_on_configurations() -> None:
    table, _ = olmo()
    fit = fit_law(table, law="auto", metric="c4_en", columns=OLMO_COLUMNS, options=QUICK)
    assert (fit.law, fit.comparison["preferred"], fit.comparison["verdict"]) == ("joint", "joint", "decisive")
    assert (fit.n_runs, fit.n_configs) == (30, 25)
    assert fit.lack_of_fit is not None
    assert fit.lack_of_fit["p"] < 1e-4
    assert fit.noise["residual_sd"] > 10 * fit.noise["seed_sd"]
    assert "LACK_OF_FIT" in fit.codes
    additive = fit_law(table, law="additive", metric="c4_en", columns=OLMO_COLUMNS, options=QUICK)
    assert "BETTER_FORM_EXISTS" in additive.codes


def test_the_optimum_is_scipys() -> None:
    table = law_table(seed_sd=0.02, seeds=2)
    fit = fit_law(table, metric="y", columns=COLUMNS, options=RUNS, compare_forms=False)
    log_y = np.log(table["y"].to_numpy())

    def residuals(logs: np.ndarray) -> np.ndarray:
        a, alpha, b, beta, delta = np.exp(logs)
        n, d = table["N"].to_numpy(), table["D"].to_numpy()
        return np.log(((a / n) ** (alpha / beta) + b / d) ** beta + delta) - log_y

    start = np.log(list(JOINT.values()))
    tight = {"ftol": 1e-15, "xtol": 1e-15, "gtol": 1e-15}
    reference = optimize.least_squares(residuals, start, x_scale="jac", method="lm", **tight)
    assert list(fit.params.values()) == pytest.approx(np.exp(reference.x), rel=1e-6)
    assert fit.rmse_log == pytest.approx(np.sqrt(2 * reference.cost / len(table)), rel=1e-12)


def test_the_objective_is_a_sum_so_its_scale_does_not_matter() -> None:
    table = law_table(seed_sd=0.02)
    logs = [np.log(table[name].to_numpy()) for name in ("N", "D", "y")]
    points = Points.of(*logs)
    shrunk = replace(points, weight=points.weight * 1e-9)
    found = [minimise(Objective(get_law("joint"), item), 60).theta for item in (points, shrunk)]
    assert found[0] == pytest.approx(found[1], rel=1e-8)


def test_at_least_fifty_starts_and_most_agree() -> None:
    table = law_table(seed_sd=0.02)
    points = Points.of(*[np.log(table[name].to_numpy()) for name in ("N", "D", "y")])
    objective = Objective(get_law("joint"), points)
    assert len(objective.law.starts(points, 50)) >= 50
    optimum = minimise(objective, 50)
    assert optimum.tried >= 50
    assert optimum.agreeing > 0.5 * optimum.tried


@settings(deadline=None, max_examples=4)
@given(seed=st.integers(0, 1000))
def test_row_order_does_not_change_any_number(seed: int) -> None:
    table = law_table(seeds=2, seed_sd=0.01, configuration_sd=0.02)
    shuffled = table.sample(frac=1, random_state=seed)
    options = FitOptions(bootstrap=20, starts=50)
    records = [
        fit_law(item, metric="y", columns=COLUMNS, options=options, compare_forms=False).to_json()
        for item in (table, shuffled)
    ]
    assert records[0] == records[1]


@settings(deadline=None, max_examples=4)
@given(law=st.sampled_from(["joint", "additive"]), n=st.floats(1e-9, 1e6), d=st.floats(1e-9, 1e6))
def test_units_of_n_and_d_do_not_matter(law: str, n: float, d: float) -> None:
    table = law_table(seeds=2, seed_sd=0.01)
    other = table.assign(N=table["N"] * n, D=table["D"] * d)
    options = FitOptions(bootstrap=30, starts=50)
    fits = [
        fit_law(item, law=law, metric="y", columns=COLUMNS, options=options, compare_forms=False)
        for item in (table, other)
    ]
    for name in ("alpha", "beta", "delta"):
        assert fits[1].params[name] == pytest.approx(fits[0].params[name], rel=1e-6)
        assert fits[1].intervals[name] == pytest.approx(fits[0].intervals[name], rel=1e-3, abs=1e-6)
        drawn = [fit.bootstrap.intervals[name] for fit in fits if fit.bootstrap]
        assert drawn[1] == pytest.approx(drawn[0], rel=1e-3, abs=1e-6)
    for name, unit in (("A", n), ("B", d)):
        power = fits[0].params["alpha" if name == "A" else "beta"] if law == "additive" else 1.0
        assert fits[1].params[name] == pytest.approx(fits[0].params[name] * unit**power, rel=1e-4)


def test_repeated_rows_of_one_run_count_once() -> None:
    table = law_table(seeds=2, seed_sd=0.01)
    table["run"] = [f"run{index}" for index in range(len(table))]
    twice = pd.concat([table, table.iloc[::3]])
    single = fit_law(table, metric="y", columns=COLUMNS, options=QUICK, compare_forms=False)
    double = fit_law(twice, metric="y", columns=COLUMNS, options=QUICK, compare_forms=False)
    assert double.params == single.params
    assert double.n_runs == single.n_runs
    assert "DUPLICATE_ROWS" in double.codes


def test_seeds_with_a_few_pairs_more_or_fewer_are_one_configuration() -> None:
    table = law_table(seeds=2, seed_sd=0.01)
    jittered = table.assign(D=table["D"] * (1 + 3e-4 * table["seed"]))
    fit = fit_law(jittered, metric="y", columns=COLUMNS, options=QUICK, compare_forms=False)
    exact = fit_law(table, metric="y", columns=COLUMNS, options=QUICK, compare_forms=False)
    assert fit.n_configs == exact.n_configs == 30
    assert fit.params == exact.params


def test_bootstrap_is_seeded_and_the_seed_matters() -> None:
    table = law_table(seed_sd=0.01)
    fits = [
        fit_law(table, metric="y", columns=COLUMNS, options=options, compare_forms=False)
        for options in (FitOptions(bootstrap=20, seed=seed) for seed in (3, 3, 4))
    ]
    drawn = [fit.bootstrap.params for fit in fits if fit.bootstrap is not None]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_huber_resists_an_outlier_and_is_reported_as_sensitive() -> None:
    table = law_table(seed_sd=0.005)
    table.loc[0, "y"] *= 1.3
    squares = fit_law(table, metric="y", columns=COLUMNS, options=QUICK)
    huber = fit_law(table, metric="y", columns=COLUMNS, options=replace(QUICK, loss="huber"))
    errors = [abs(fit.params["beta"] - JOINT["beta"]) for fit in (squares, huber)]
    assert errors[1] < 0.2 * errors[0]
    assert "OBJECTIVE_SENSITIVE" in huber.codes


def test_huber_scale_can_be_given_and_a_wide_one_is_least_squares() -> None:
    table = law_table(seed_sd=0.01)
    squares = fit_law(table, metric="y", columns=COLUMNS, options=QUICK, compare_forms=False)
    options = replace(QUICK, loss="huber", huber_scale=10.0)
    wide = fit_law(table, metric="y", columns=COLUMNS, options=options, compare_forms=False)
    assert wide.params == pytest.approx(squares.params, rel=1e-6)


def test_configurations_with_more_seeds_weigh_more_when_seeds_are_the_noise() -> None:
    table = law_table(seeds=4, seed_sd=0.02)
    uneven = table[(table["seed"] == 0) | (table["N"] > 1e7)]
    fit = fit_law(uneven, metric="y", columns=COLUMNS, options=QUICK, compare_forms=False)
    by_seeds = fit.points.groupby("seeds")["weight"].mean()
    assert by_seeds[4] > 1.5 * by_seeds[1]
    even = fit_law(table, metric="y", columns=COLUMNS, options=QUICK, compare_forms=False)
    assert even.points["weight"].to_numpy() == pytest.approx(1.0)


def test_law_in_one_axis_uses_one_slice_and_says_so() -> None:
    fit = fit_law(law_table(), law="data", metric="y", columns=COLUMNS, options=QUICK)
    assert fit.range["N"][0] == fit.range["N"][1] == pytest.approx(8.6e7)
    assert "SLICE_USED" in fit.codes
    alone = law_table(sizes=[1e6])
    assert "SLICE_USED" not in fit_law(alone, law="data", metric="y", columns=COLUMNS, options=QUICK).codes


@pytest.mark.parametrize(
    ("sizes", "pairs", "axes"), [([1e6], None, ("D",)), (None, [1e4], ("N",)), (None, None, ("N", "D"))]
)
def test_auto_uses_the_axes_that_vary(
    sizes: list[float] | None, pairs: list[float] | None, axes: tuple[str, ...]
) -> None:
    given_axes = {name: value for name, value in (("sizes", sizes), ("pairs", pairs)) if value}
    table = law_table(seed_sd=0.001, **given_axes)  # type: ignore[arg-type]
    fit = fit_law(table, law="auto", metric="y", columns=COLUMNS, options=QUICK)
    assert fit.form.axes == axes
    assert fit.comparison["preferred"] == fit.law


def test_auto_recognises_the_additive_form() -> None:
    params = {"A": 400.0, "alpha": 0.34, "B": 30.0, "beta": 0.38, "delta": 0.5}
    table = law_table("additive", params, seed_sd=0.002, seeds=2)
    fit = fit_law(table, law="auto", metric="y", columns=COLUMNS, options=QUICK)
    assert (fit.law, fit.comparison["verdict"]) == ("additive", "decisive")


def test_holdout_leaves_the_largest_levels_out() -> None:
    fit = fit_law(law_table(seed_sd=0.001), metric="y", columns=COLUMNS, options=QUICK, compare_forms=False)
    assert (fit.holdout.axis, fit.holdout.n) == ("N", 5)
    by_axis = pd.DataFrame(fit.holdout.points).groupby("axis")
    assert by_axis["N"].min()["N"] == pytest.approx(8.6e7)
    assert by_axis["D"].min()["D"] == pytest.approx(5e5)
    of_n = [point["relative_error"] for point in fit.holdout.points if point["axis"] == "N"]
    assert fit.holdout.relative_error == max(of_n, key=abs)
    assert abs(fit.holdout.relative_error) < 0.02


def test_bands_are_ordered_and_cover_new_runs() -> None:
    table = law_table(seeds=3, seed_sd=0.02, configuration_sd=0.02)
    fit = fit_law(table, metric="y", columns=COLUMNS, options=FitOptions(bootstrap=200), compare_forms=False)
    n, d = np.array([1e6, 3e6, 2e7]), np.array([2e4, 2e4, 3e5])
    value = fit.predict(n, d)
    (low, high), (run_low, run_high) = fit.mean_band(n, d), fit.run_band(n, d)
    assert np.all(run_low < low) & np.all(low < value) & np.all(value < high) & np.all(high < run_high)
    fresh = law_table(seeds=4, seed_sd=0.02, configuration_sd=0.02, random=9)
    ends = fit.run_band(fresh["N"], fresh["D"])
    inside = (ends[0] < fresh["y"]) & (fresh["y"] < ends[1])
    assert 0.85 <= inside.mean() <= 1.0
    narrow = fit.mean_band(n, d, level=0.5)
    assert np.all(narrow[0] > low) & np.all(narrow[1] < high)


def test_delta_method_bands_agree_with_bootstrap_ones() -> None:
    table = law_table(seeds=3, seed_sd=0.01)
    fit = fit_law(table, metric="y", columns=COLUMNS, options=FitOptions(bootstrap=400), compare_forms=False)
    bare = replace(fit, bootstrap=None)
    widths = [np.log(high / low) for low, high in (fit.mean_band(5e6, 5e4), bare.mean_band(5e6, 5e4))]
    assert widths[0] == pytest.approx(widths[1], rel=0.35)


def test_record_round_trips_through_json(tmp_path) -> None:
    table = law_table(seeds=2, seed_sd=0.01)
    fit = fit_law(table, metric="y", columns=COLUMNS, options=FitOptions(bootstrap=25))
    path = tmp_path / "fit.json"
    path.write_text(json.dumps(fit.to_json(), allow_nan=False))
    back = FitFile.load(path).groups["all"]
    assert back.to_json() == fit.to_json()
    assert back.run_band(1e6, 1e4) == fit.run_band(1e6, 1e4)
    pinned = {"law", "metric", "params", "intervals", "r2", "rmse_log", "n_runs", "n_configs", "aicc"}
    assert pinned | {"holdout", "starts", "warnings"} <= set(fit.to_json())


@pytest.mark.parametrize("text", ["", "[1, 2]", "{}", '{"law": "joint"}'])
def test_records_that_are_not_fits_are_refused(tmp_path, text: str) -> None:
    path = tmp_path / "fit.json"
    path.write_text(text)
    with pytest.raises(DataError, match="sweeps fit"):
        FitFile.load(path)


def test_prediction_reports_error_and_doubts() -> None:
    fit = fit_law(law_table(seed_sd=0.001), metric="y", columns=COLUMNS, options=replace(QUICK, chance=5.549))
    inside = fit.prediction(1e6, 1e4, observed=2.0)
    assert inside.relative_error == pytest.approx(inside.predicted / 2.0 - 1)
    assert inside.warnings == []
    codes = [item.code for item in fit.prediction(1e3, 1e2).warnings]
    assert codes == ["EXTRAPOLATION_FACTOR", "EXTRAPOLATION_FACTOR", "ABOVE_CHANCE_PREDICTION"]

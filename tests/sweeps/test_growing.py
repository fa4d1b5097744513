"""Laws of quantities that grow: planted exponents come back, and units change the scale alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_tables import COLUMNS, PAIRS, SIZES, law_table

from retrieval.errors import ConfigError
from sweeps.cli import main
from sweeps.fitting.fit import fit_law
from sweeps.fitting.laws import LAWS, get_law, growing, plain_names
from sweeps.fitting.result import FitOptions, FitResult

PLANTED = {
    "model-growing": {"A": 3e-4, "alpha": 1.05},
    "data-growing": {"B": 20.0, "beta": 0.4},
    "joint-growing": {"A": 5.0, "alpha": 0.9, "beta": 0.25},
}
GRID = {"model-growing": (SIZES, (5e4,)), "data-growing": ((1e6,), PAIRS), "joint-growing": (SIZES, PAIRS)}


def fit(table: pd.DataFrame, law: str, bootstrap: int = 0, **more: float | str) -> FitResult:
    options = FitOptions(bootstrap=bootstrap, starts=50, **more)  # type: ignore[arg-type]
    return fit_law(table, law=law, metric="y", columns=COLUMNS, options=options)


def planted(law: str, params: dict[str, float] | None = None, **noise: float) -> pd.DataFrame:
    sizes, pairs = GRID[law]
    return law_table(law, params or PLANTED[law], sizes, pairs, **noise)  # type: ignore[arg-type]


@pytest.mark.parametrize("law", PLANTED)
@pytest.mark.parametrize("loss", ["least-squares", "huber"])
def test_without_noise_the_planted_parameters_come_back(law: str, loss: str) -> None:
    found = fit(planted(law), law, loss=loss)
    # ln A is an intercept 15 e-folds away from the points: rounding of ln y, 1e-15, grows by about as much.
    assert found.params == pytest.approx(PLANTED[law], rel=1e-9)
    assert found.starts["agreeing"] == found.starts["tried"]
    assert found.chance is None


@pytest.mark.parametrize("law", PLANTED)
def test_intervals_hold_the_planted_exponents_and_stand_beside_those_of_the_bootstrap(law: str) -> None:
    table = planted(law, seeds=3, seed_sd=0.02, configuration_sd=0.03, random=3)
    found = fit(table, law, bootstrap=200)
    assert found.bootstrap is not None
    for name, value in PLANTED[law].items():
        low, high = found.intervals[name]
        assert low is not None
        assert high is not None
        assert low < value < high
        drawn = found.bootstrap.intervals[name]
        assert drawn[0] < found.params[name] < drawn[1]
    assert found.holdout.n > 0
    assert not {"METRIC_GROWS", "NON_MONOTONE", "GROWTH_NOT_ESTABLISHED"} & set(found.codes)


def test_intervals_are_those_of_linear_regression_on_the_means_of_configurations() -> None:
    """Known answer: the profile of a linear model is Student's t interval (Draper and Smith, sec. 1.4)."""
    from scipy import stats

    table = planted("model-growing", seeds=2, seed_sd=0.05, random=1)
    found = fit(table, "model-growing")
    means = np.log(table["y"]).groupby(table["N"]).mean()
    line = stats.linregress(np.log(means.index.to_numpy(dtype=float)), means.to_numpy())
    half = stats.t.ppf(0.975, len(means) - 2) * line.stderr
    assert found.params["alpha"] == pytest.approx(line.slope, rel=1e-9)
    # The walker stops when the square root of the rise is within 1e-4 of its level.
    assert found.intervals["alpha"] == pytest.approx((line.slope - half, line.slope + half), abs=2e-4 * half)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-9, 1e12), random=st.integers(0, 99), law=st.sampled_from(list(PLANTED)))
def test_another_unit_of_the_metric_changes_the_scale_alone(factor: float, random: int, law: str) -> None:
    table = planted(law, configuration_sd=0.05, random=random)
    first, second = fit(table, law), fit(table.assign(y=table["y"] * factor), law)
    scale, *exponents = get_law(law).parameters
    assert second.params[scale] == pytest.approx(first.params[scale] * factor, rel=1e-7)
    for name in exponents:
        assert second.params[name] == pytest.approx(first.params[name], rel=1e-8, abs=1e-9)
    # Intervals are found by iteration, to 1e-4 of their half-width.
    for name in exponents:
        width = np.ptp(np.array(first.intervals[name], dtype=float))
        assert second.intervals[name] == pytest.approx(first.intervals[name], abs=1e-3 * width)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(1e-6, 1e6), random=st.integers(0, 99))
def test_another_unit_of_n_leaves_the_exponent(factor: float, random: int) -> None:
    table = planted("model-growing", configuration_sd=0.05, random=random)
    first = fit(table, "model-growing").params
    second = fit(table.assign(N=table["N"] * factor), "model-growing").params
    assert second["alpha"] == pytest.approx(first["alpha"], rel=1e-8)
    assert second["A"] == pytest.approx(first["A"] * factor ** -first["alpha"], rel=1e-6)


def test_an_exponent_of_zero_is_found_and_said_not_to_grow() -> None:
    params = {"A": 2.0, "alpha": 1.0, "beta": 0.0}
    found = fit(planted("joint-growing", params, seeds=2, seed_sd=0.05, random=2), "joint-growing")
    low, high = found.intervals["beta"]
    assert low is not None
    assert high is not None
    assert low < 0 < high
    assert "GROWTH_NOT_ESTABLISHED" in found.codes


def test_what_falls_has_a_negative_exponent_and_is_named() -> None:
    found = fit(planted("model-growing", {"A": 2e3, "alpha": -0.5}), "model-growing")
    assert found.params["alpha"] == pytest.approx(-0.5, rel=1e-9)
    assert {"GROWTH_NOT_ESTABLISHED", "NON_MONOTONE"} <= set(found.codes)
    (said,) = (warning.message for warning in found.warnings if warning.code == "NON_MONOTONE")
    assert said.startswith("the metric falls by")


def test_a_law_of_losses_names_a_metric_that_grows() -> None:
    found = fit(planted("model-growing"), "model")
    assert "METRIC_GROWS" in found.codes
    (said,) = (warning for warning in found.warnings if warning.code == "METRIC_GROWS")
    assert "--grows" in said.remedy
    assert "METRIC_GROWS" not in fit(law_table(), "joint").codes


def test_growing_forms_are_compared_with_each_other_and_offered_to_no_comparison_of_losses() -> None:
    assert list(fit(planted("model-growing"), "model-growing").aicc) == ["model-growing"]
    assert not any(name.endswith("growing") for name in fit(law_table(), "joint").aicc)
    assert not any(LAWS[name].grows for name in plain_names({"N"}))


def test_names_of_growing_forms() -> None:
    assert [growing(name) for name in ("model", "data", "joint")] == list(PLANTED)
    assert growing("model-growing") == "model-growing"
    with pytest.raises(ConfigError, match="--grows --law additive: no such form grows; choose one of model"):
        growing("additive")


def test_the_command_fits_by_strategy_and_its_record_reads_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, out = tmp_path / "runs.csv", tmp_path / "fit.json"
    parts = [
        planted("model-growing", {"A": scale, "alpha": alpha}, seeds=2, seed_sd=0.01, random=7).assign(
            strategy=name
        )
        for name, scale, alpha in (("standard", 2.0, 1.0), ("adversarial", 3.0, 1.2))
    ]
    pd.concat(parts).to_csv(source, index=False)
    command = ["fit", "--table", str(source), "--n", "N", "--d", "D", "--metric", "y", "--out", str(out)]
    command += ["--bootstrap", "40", "--by", "strategy", "--law", "model"]
    assert main([*command, "--grows"]) == 0
    record = json.loads(out.read_text())
    for name, alpha in (("standard", 1.0), ("adversarial", 1.2)):
        group = record["groups"][name]
        assert group["law"] == "model-growing"
        assert group["formula"] == "A·N^α"
        low, high = group["intervals"]["alpha"]
        assert low < alpha < high
        assert set(group["params"]) == {"A", "alpha"}
    assert "y ~ A·N^α   (model-growing)" in capsys.readouterr().out
    assert main([*command, "--grows", "--chance", "5"]) == 2
    assert "has no chance level" in capsys.readouterr().err
    assert main([*command]) == 0
    assert "METRIC_GROWS" in capsys.readouterr().out


def test_seconds_a_query_are_fitted_by_family(tmp_path: Path) -> None:
    source, out = tmp_path / "runs.csv", tmp_path / "fit.json"
    key, exponents = "cost/seconds_per_query", {"dual-encoder": 0.4, "cross-encoder": 1.1}
    parts = [
        planted("model-growing", {"A": 1e-9, "alpha": alpha}, seeds=2, seed_sd=0.02, random=5)
        .rename(columns={"y": key})
        .assign(model_family=name)
        for name, alpha in exponents.items()
    ]
    pd.concat(parts).to_csv(source, index=False)
    command = ["fit", "--table", str(source), "--n", "N", "--d", "D", "--law", "model", "--grows"]
    command += ["--metric", key, "--by", "model_family", "--bootstrap", "0", "--out", str(out)]
    assert main(command) == 0
    record = json.loads(out.read_text())
    for name, alpha in exponents.items():
        low, high = record["groups"][name]["intervals"]["alpha"]
        assert low < alpha < high


def test_metrics_that_rise_with_quality_stay_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "runs.csv"
    planted("model-growing").rename(columns={"y": "eff/ndcg@10"}).to_csv(source, index=False)
    command = ["fit", "--table", str(source), "--n", "N", "--d", "D", "--law", "model", "--grows"]
    assert main([*command, "--metric", "eff/ndcg@10"]) == 2
    assert "rises with quality" in capsys.readouterr().err


def test_three_levels_in_order_by_luck_are_no_growth() -> None:
    """Without seeds three levels ascend once in six cases whatever the law; five once in 120."""
    params = {"A": 1.0, "alpha": 0.5}
    few, more = (law_table("model-growing", params, SIZES[:count], (5e4,)) for count in (3, 5))
    assert "METRIC_GROWS" not in fit(few, "model-no-floor").codes
    assert "METRIC_GROWS" in fit(more, "model-no-floor").codes

"""Mixture laws recover planted ones, say what is wrong with a table, and refuse what must not share a law."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mixture_tables import (
    EFF,
    EFF_THETA,
    MINI,
    OMEGAS,
    PAIRS,
    ROB,
    ROB_FORM,
    SMALL,
    TINY,
    best,
    conditions,
    mixture_table,
    planted,
)

from retrieval.errors import ConfigError
from sweeps.diagnostics import FitRefusedError, TableError
from sweeps.fitting.result import FitOptions
from sweeps.mixture.fit import MixtureOptions, fit_mixture
from sweeps.mixture.forms import FORMS
from sweeps.mixture.optimum import EDGE, GOALS, logits, omega_of
from sweeps.mixture.record import Mixture

OWN = ("effective-data", ROB_FORM)
FIT = FitOptions(loss="huber", starts=20, bootstrap=100)
QUICK = MixtureOptions(fit=FIT, forms=OWN)
PLAIN = replace(QUICK, fit=replace(FIT, loss="least-squares", bootstrap=20))
FEW = (1431, 7152, 28608)


def best_of(record: Mixture, goal: str, end: str = "omega") -> np.ndarray:
    """ω* of every cell, or an end of its interval."""
    return np.array([getattr(cell.optimum[goal], end) for cell in record.cells])


def codes(result: Mixture) -> set[str]:
    return {warning.code for warning in result.warnings}


def message(result: Mixture, code: str) -> str:
    return next(warning.message for warning in result.warnings if warning.code == code)


@pytest.fixture(scope="module")
def sound() -> Mixture:
    return fit_mixture(mixture_table(), replace(QUICK, forms=()), [(TINY, 57000), (5 * TINY, 100)])


# -- planted laws ----------------------------------------------------------------------------------------


def test_exact_values_give_the_planted_optimum() -> None:
    result = fit_mixture(mixture_table(seeds=1, noise=0.0), PLAIN)
    assert list(result.form.values()) == list(OWN)
    for goal in GOALS:
        truth = [best(d, goal=goal) for d in PAIRS]
        assert best_of(result, goal) == pytest.approx(truth, abs=0.01)


@pytest.mark.parametrize("random", [0, 1, 2])
def test_the_planted_optimum_lies_in_its_interval(random: int) -> None:
    result = fit_mixture(mixture_table(random=random), QUICK)
    for goal in ("knee", "rob"):
        truth = np.array([best(d, goal=goal) for d in PAIRS])
        assert (best_of(result, goal, "low") - 0.02 <= truth).all()
        assert (truth <= best_of(result, goal, "high") + 0.02).all()


def test_all_forms_compete_and_the_planted_one_wins_by_holdout(sound: Mixture) -> None:
    assert sound.chosen_by == "holdout"
    assert next(iter(sound.forms["eff"])) == "effective-data"
    assert next(iter(sound.forms["rob"])) in (ROB_FORM, "effective-data")
    named = sound.forms["eff"]
    assert set(named) == set(FORMS) - {"effective-data-transfer"}
    own, quadratic = named["effective-data"].holdout, named["quadratic-sqrt"].holdout
    assert own is not None
    assert quadratic is not None
    assert own < 0.02 < quadratic
    # What was left out is the largest D: its four or five configurations, nothing along N.
    assert [len(errors) for errors in named["effective-data"].errors.values()] == [len(OMEGAS)]


def test_the_best_omega_falls_with_the_number_of_pairs(sound: Mixture) -> None:
    knee = best_of(sound, "knee")
    assert (np.diff(knee) < 0).all()
    assert sound.optimum["knee"].ln_train_pairs < 0


def test_the_log_linear_law_is_as_far_off_as_it_says(sound: Mixture) -> None:
    for goal in GOALS:
        law = sound.optimum[goal]
        coefficients = np.array([law.intercept, law.ln_train_pairs, law.ln_params_non_embedding])
        said = omega_of(logits(coefficients, np.full(5, float(TINY)), np.array(PAIRS, float)))
        own = np.clip(best_of(sound, goal), EDGE, 1 - EDGE)
        assert np.abs(said - own).max() <= law.max_error + 0.01
    assert sound.optimum["knee"].max_error < 0.05


def test_one_model_size_has_no_slope_along_n_and_one_d_none_along_d(sound: Mixture) -> None:
    assert sound.optimum["knee"].ln_params_non_embedding == 0
    assert sound.to_json()["optimum"]["knee"]["one_level"] == ["N"]
    single = fit_mixture(mixture_table(pairs=(2861,), omegas=(0, 0.1, 0.25, 0.5, 0.75, 0.9)), QUICK)
    record = single.to_json()
    assert record["optimum"]["knee"]["one_level"] == ["D", "N"]
    assert record["optimum"]["knee"]["ln_train_pairs"] == 0
    assert record["chosen_by"] == "aicc"


def test_several_model_sizes() -> None:
    table = mixture_table(pairs=FEW, sizes=(TINY, MINI, SMALL), omegas=(0, 0.1, 0.25, 0.5))
    result = fit_mixture(table, PLAIN)
    truth = [best(d, n, sized=True) for n in (TINY, MINI, SMALL) for d in FEW]
    assert best_of(result, "knee") == pytest.approx(truth, abs=0.06)
    assert abs(result.optimum["knee"].ln_params_non_embedding) < 0.1
    assert {held.axis for held in result.holdout} == {"D", "N"}
    assert {"A", "alpha"} <= set(result.to_json()["params"]["eff"])


def test_robust_data_that_is_worth_more_to_larger_models() -> None:
    table = mixture_table(pairs=FEW, sizes=(TINY, MINI, SMALL), omegas=(0, 0.1, 0.25, 0.5), seeds=1, noise=0)
    form = FORMS["effective-data-transfer"]
    at = conditions(
        table["omega/final"].fillna(0.0).to_numpy(float),
        table["size/params_non_embedding"].to_numpy(float),
        table["size/train_pairs"].to_numpy(float),
    )
    theta = np.array([*EFF_THETA[:5], -0.8, np.log(0.3), 0.25])
    for column, shift in ((EFF, 0.0), (ROB, 0.6)):
        table[column] = form.values((theta + np.array([shift, *[0] * 7]))[None, :], at)[0]
    options = replace(PLAIN, forms=("effective-data", "effective-data-transfer"))
    result = fit_mixture(table, options)
    assert list(result.form.values()) == ["effective-data-transfer"] * 2
    assert result.optimum["eff"].ln_params_non_embedding > 0.05
    assert result.to_json()["params"]["eff"]["kappa"]["value"] == pytest.approx(0.25, abs=0.02)


def test_holdout_predicts_the_optimum_of_the_largest_d(sound: Mixture) -> None:
    (held,) = sound.holdout
    assert held.axis == "D"
    assert held.train_pairs == 28608
    assert held.predicted.omega == pytest.approx(best(28608), abs=0.05)
    assert 0 <= held.regret < 0.01


@pytest.mark.slow
def test_coverage_of_the_intervals() -> None:
    """95 % intervals of the knee's ω* hold the truth about that often, at every D together."""
    options = replace(QUICK, fit=replace(FIT, bootstrap=200))
    truth = np.array([best(d) for d in PAIRS])
    hits = []
    for random in range(60):
        result = fit_mixture(mixture_table(random=1000 + random, noise=0.01), options)
        hits.append((best_of(result, "knee", "low") <= truth) & (truth <= best_of(result, "knee", "high")))
    assert 0.85 <= np.mean(hits) <= 1.0


# -- forms -----------------------------------------------------------------------------------------------


def by_hand(name: str, p: dict[str, float], omega: float, d: float, seen: float) -> float:
    """The formula in the form's docstring, written out for one point and one N."""
    own, robust = (1 - omega) * seen, omega * seen
    if name.startswith("effective-data"):
        if name.endswith("smooth"):
            x = own * p["rho"] * d / (own + p["rho"] * d) + p["k"] * p["S0"] * robust / (robust + p["S0"])
        else:
            new = min(d, own)
            again = own / new - 1
            x = new + new * p["rho"] * (1 - np.exp(-again / p["rho"]))
            x += p["k"] * p["S0"] * (1 - np.exp(-robust / p["S0"]))
        return float((p["B"] / x) ** p["beta"] + p.get("delta", 0.0))
    if name == "exponentials":
        falling = 1 - p["s"] + p["s"] * np.exp(-p["t"] * omega)
        rising = p["c"] * (np.exp(p["u"] * omega) - 1)
        return float((p["B"] / d) ** p["beta"] * falling + rising + p["delta"])
    z = np.sqrt(omega) if name.endswith("sqrt") else np.log(1 + omega / 0.05)
    x = np.log(d / p["D0"])
    return float(
        np.exp(p["a"] + p["a_D"] * x + p["a_DD"] * x**2 + (p["b"] + p["b_D"] * x) * z + p["c"] * z**2)
    )


@pytest.mark.parametrize("name", [name for name in FORMS if name != "effective-data-transfer"])
def test_published_parameters_belong_to_the_formula(name: str) -> None:
    form = FORMS[name]
    omega, d = (part.ravel() for part in np.meshgrid([0.0, 0.2, 0.9], [1000.0, 8000.0, 64000.0]))
    at = conditions(omega, np.full_like(d, float(TINY)), d)
    log_y = np.log(planted(omega, at.n, d)[0])
    ranges = np.array([parameter.start for parameter in form.parameters])
    theta = form.project(ranges.mean(axis=1)[None, :], at, log_y)
    for place, parameter in enumerate(form.parameters):
        if not parameter.free(at):
            theta[:, place] = parameter.frozen
    published = {key: float(value[0]) for key, value in form.publish(theta, at).items()}
    wanted = [by_hand(name, published, o, size, at.seen) for o, size in zip(omega, d)]
    assert form.values(theta, at)[0] == pytest.approx(wanted, rel=1e-9)


def test_a_form_reports_what_the_paper_reports_without_robust_data() -> None:
    """At ω = 0 the effective data are those of arXiv 2305.16264: U + U·ρ·(1 − exp(−R/ρ))."""
    row = np.array(EFF_THETA)
    row[2] = np.log(15.4)
    d, seen = 1000.0, 600 * 64.0
    at = conditions(np.zeros(1), np.array([float(TINY)]), np.array([d]))
    repeats = seen / d - 1
    data = d + d * 15.4 * (1 - np.exp(-repeats / 15.4))
    beta = np.exp(row[1])
    expected = np.exp(row[0]) * (data / 6400.0) ** -beta
    assert FORMS["effective-data"].values(row[None, :], at)[0, 0] == pytest.approx(expected, rel=1e-12)


# -- findings --------------------------------------------------------------------------------------------


def test_a_sound_table_leaves_the_knee_without_a_warning() -> None:
    result = fit_mixture(mixture_table(omegas=(0, 0.1, 0.25, 0.5, 0.8)), QUICK)
    about_knee = [w for w in result.warnings if "E + R" in w.message or w.code.startswith("MIX")]
    assert about_knee == []
    assert "SINGLE_SEED" not in codes(result)


def test_omega_at_edge() -> None:
    result = fit_mixture(mixture_table(omegas=(0, 0.1, 0.2)), QUICK)
    assert "bert-tiny 0.05: " in message(result, "OMEGA_AT_EDGE")
    assert "outside 0 to 0.2" in message(result, "OMEGA_AT_EDGE")


def test_omega_not_identified_in_noise() -> None:
    result = fit_mixture(mixture_table(pairs=FEW, noise=0.06), QUICK)
    assert "OMEGA_NOT_IDENTIFIED" in codes(result)


def test_single_seed() -> None:
    assert "SINGLE_SEED" in codes(fit_mixture(mixture_table(seeds=1), PLAIN))


def test_optimum_at_zero_is_clipped_and_said() -> None:
    result = fit_mixture(mixture_table(noise=0.002), PLAIN)
    assert best_of(result, "eff")[-1] == 0
    assert "minimises E leaves" in message(result, "OMEGA_CLIPPED")
    assert "(E) is off by up to" in message(result, "OMEGA_LAW_COARSE")


def test_holdout_missed_where_the_largest_d_behaves_otherwise() -> None:
    table = mixture_table(noise=0.002)
    largest = table["size/train_pairs"] == 28608
    omega = table["omega/final"].fillna(0.0)
    table.loc[largest, EFF] *= np.exp(-0.8 * omega[largest])
    result = fit_mixture(table, PLAIN)
    assert "without the largest D" in message(result, "MIXTURE_HOLDOUT_MISSED")


def test_prediction_beyond_twice_the_range_is_flagged(sound: Mixture) -> None:
    near, far = sound.to_json()["predictions"]
    assert near["warnings"] == []
    assert [item["code"] for item in far["warnings"]] == ["OMEGA_EXTRAPOLATED"] * 2
    assert 0 <= near["optimum"]["knee"]["low"] <= near["optimum"]["knee"]["omega"]


def test_test_metrics_do_not_steer(sound: Mixture) -> None:
    table = mixture_table().rename(columns={EFF: "eff/contrastive_entropy", ROB: "ood/contrastive_entropy"})
    options = replace(PLAIN, eff="eff/contrastive_entropy", rob="ood/contrastive_entropy")
    result = fit_mixture(table, options)
    assert result.to_json()["steers"] is False
    assert "training refuses" in message(result, "TEST_METRICS")
    assert sound.to_json()["steers"] is True
    assert "TEST_METRICS" not in codes(sound)


def test_cells_with_two_omegas_are_left_out_and_named() -> None:
    table = mixture_table()
    table = table[(table["size/train_pairs"] != 2861) | table["omega/final"].fillna(0).isin([0, 0.25])]
    result = fit_mixture(table, PLAIN)
    assert len(result.cells) == 4
    assert "left out: bert-tiny 0.1" in message(result, "FEWER_THAN_3_OMEGAS")
    assert result.n_left_out == 4


def test_equal_measurements_count_once_and_unequal_ones_are_named() -> None:
    table = mixture_table()
    base = table[table["strategy"] == "standard"]
    as_fixed = base.assign(strategy="pareto", **{"omega/rule": "fixed", "omega/final": 0.0})
    twice = pd.concat([table, as_fixed.assign(run="b" + as_fixed["run"])])
    result = fit_mixture(twice, PLAIN)
    assert "10 runs repeat" in message(result, "DUPLICATE_ROWS")
    assert result.n_runs == len(table)
    as_fixed[EFF] *= 1.001
    assert "MIXED_SETTINGS" in codes(fit_mixture(pd.concat([table, as_fixed]), PLAIN))


def test_the_order_of_rows_changes_nothing() -> None:
    table = mixture_table(pairs=FEW)
    first, second = (
        fit_mixture(rows, PLAIN).to_json() for rows in (table, table.sample(frac=1, random_state=4))
    )
    assert json.dumps(first) == json.dumps(second)


# -- which rows ------------------------------------------------------------------------------------------


def test_other_strategies_and_rules_are_left_out_and_counted() -> None:
    table = mixture_table(pairs=FEW)
    other = table.iloc[:3].assign(strategy="denoising")
    moving = table.iloc[5:8].assign(strategy="pareto", **{"omega/rule": "dro", "omega/final": 0.4})
    result = fit_mixture(pd.concat([table, other, moving]), PLAIN)
    assert (result.n_runs, result.n_left_out) == (len(table), 6)


def test_the_base_strategy_is_omega_zero() -> None:
    table = mixture_table(pairs=FEW)
    table["base_strategy"] = "denoising"
    table.loc[table["strategy"] == "standard", "strategy"] = "denoising"
    result = fit_mixture(table, PLAIN)
    assert result.conditions.base_strategy == "denoising"
    assert result.n_runs == len(table)


def test_weighted_losses_are_another_treatment() -> None:
    table = mixture_table(pairs=FEW, omegas=(0, 0.1, 0.25, 0.5))
    table["omega/mixing"] = np.where(table["strategy"] == "pareto", "loss", None)
    result = fit_mixture(table, PLAIN)
    assert result.conditions.mixing == "loss"
    assert 0.0 not in {one.omega for cell in result.cells for one in cell.measured}
    table.loc[table["omega/final"] == 0.25, "omega/mixing"] = "steps"
    with pytest.raises(FitRefusedError, match="--where omega/mixing=steps, "):
        fit_mixture(table, PLAIN)


def changed(**values: Any) -> pd.DataFrame:
    """A table in which the runs at ω = .25 have other values."""
    table = mixture_table(pairs=FEW)
    for column, value in values.items():
        table.loc[table["omega/final"] == 0.25, column.replace("__", "/")] = value
    return table


@pytest.mark.parametrize(
    ("table", "options", "error", "pattern"),
    [
        (changed(omega__robust="adversarial"), {}, FitRefusedError, "--where omega/robust=adversarial,"),
        (changed(base_strategy="denoising"), {}, FitRefusedError, "mix 2 base strategies"),
        (changed(train__steps=300), {}, FitRefusedError, "choose with --where train/steps=600"),
        (changed(train__pairs_per_step=32.0), {}, FitRefusedError, "train/pairs_per_step"),
        (changed(data="other"), {}, FitRefusedError, "MIXED_COLLECTION"),
        (changed(omega__final=1.5), {}, TableError, "omega/final = 1.5 is not a number from 0 to 1"),
        (changed(**{EFF.replace("/", "__"): -1.0}), {}, TableError, "not a positive number"),
        (mixture_table(pairs=FEW), {"by": ("model",)}, FitRefusedError, "MIXED_CELL"),
        (mixture_table(pairs=FEW), {"by": ("size",)}, TableError, "column 'size'"),
        (changed(dev__ndcg=0.5), {"eff": "dev/ndcg"}, TableError, "rises with quality"),
        (mixture_table(pairs=FEW), {"rob": EFF}, ConfigError, "needs two objectives"),
        (mixture_table(pairs=FEW), {"forms": ("cubic",)}, ConfigError, "cubic does not exist; choose one of"),
        (mixture_table(pairs=FEW), {"fit": FitOptions(bootstrap=5)}, ConfigError, "at least 20"),
        (mixture_table(pairs=FEW, omegas=(0, 0.5)), {}, FitRefusedError, "FEWER_THAN_3_OMEGAS"),
        (mixture_table(pairs=(1431,), omegas=(0, 0.2, 0.5)), {}, FitRefusedError, "SATURATED_FIT"),
        (mixture_table(omegas=(0,)), {}, FitRefusedError, "NO_FIXED_OMEGA"),
        (mixture_table(pairs=FEW).drop(columns="train/steps"), {}, TableError, "column 'train/steps'"),
        (mixture_table(pairs=FEW).assign(**{EFF: None}), {}, TableError, "no fixed-ω run has both"),
    ],
)
def test_refusals_are_one_line_with_a_way_out(
    table: pd.DataFrame, options: dict[str, Any], error: type[Exception], pattern: str
) -> None:
    with pytest.raises(error, match=pattern) as caught:
        fit_mixture(table, replace(PLAIN, **options))
    assert "\n" not in str(caught.value)

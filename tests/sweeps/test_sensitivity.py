"""Sensitivities: known differences are found, equal ones are not, and pairing sharpens the test."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from law_tables import COLUMNS, PAIRS, SIZES, law_table

from sweeps.diagnostics import FitRefusedError, TableError
from sweeps.fitting.bootstrap import bootstrap
from sweeps.fitting.fit import prepare_fit
from sweeps.fitting.laws import get_law
from sweeps.fitting.result import FitOptions
from sweeps.fitting.sensitivity import Difference, Sensitivities, sensitivities

EFF = {"A": 3e5, "alpha": 0.50, "B": 7e3, "beta": 0.60, "delta": 0.03}
ROB = {"A": 3e5, "alpha": 0.30, "B": 7e3, "beta": 0.90, "delta": 0.03}
OPTIONS = FitOptions(bootstrap=200, starts=50)


def find(found: Sensitivities, resource: str, kind: str = "local") -> Difference:
    return next(item for item in found.differences if (item.resource, item.kind) == (resource, kind))


def runs(first: dict[str, float], second: dict[str, float], shared_sd: float = 0.03) -> pd.DataFrame:
    """Two metrics of the same runs that share most of their scatter."""
    table = law_table(seeds=2, sizes=SIZES, pairs=PAIRS)
    generator = np.random.default_rng(5)
    configuration = np.repeat(shared_sd * generator.standard_normal(len(table) // 2), 2)
    for name, params in (("eff", first), ("ood", second)):
        truth = get_law("joint").predict(params, table["N"], table["D"])
        table[name] = truth * np.exp(configuration + 0.004 * generator.standard_normal(len(table)))
    return table.drop(columns="y")


def analyse(table: pd.DataFrame, options: FitOptions = OPTIONS):
    return sensitivities(table, "eff", "ood", columns=COLUMNS, options=options)


def test_known_differences_are_found_with_their_sign() -> None:
    found = analyse(runs(EFF, ROB))
    model, data = find(found, "N", "exponent"), find(found, "D", "exponent")
    assert model.interval[1] < 0 < data.interval[0]
    assert max(model.p, data.p) < 0.02
    assert (model.first, model.second) == pytest.approx((0.50, 0.30), abs=0.05)
    assert (data.first, data.second) == pytest.approx((0.60, 0.90), abs=0.05)
    verdicts = " ".join(found.verdicts)
    assert "ood is more sensitive to data than eff (exponent" in verdicts
    assert "eff is more sensitive to model size than ood (exponent" in verdicts


def test_local_slopes_are_those_of_the_true_laws_at_the_centre() -> None:
    found = analyse(runs(EFF, ROB))
    n, d = found.centre["N"], found.centre["D"]
    for axis, moved in (("N", (n * 1.001, d)), ("D", (n, d * 1.001))):
        slopes = [
            -np.log(get_law("joint").predict(params, *moved) / get_law("joint").predict(params, n, d))
            / np.log(1.001)
            for params in (EFF, ROB)
        ]
        item = find(found, axis)
        assert (item.first, item.second) == pytest.approx(tuple(slopes), abs=0.02)
        assert item.interval[0] < slopes[1] - slopes[0] < item.interval[1]


def test_equal_laws_are_not_told_apart() -> None:
    found = analyse(runs(EFF, EFF))
    assert all(item.p > 0.05 for item in found.differences)
    assert all(item.interval[0] <= 0 <= item.interval[1] for item in found.differences)
    assert "no established difference in sensitivity to data" in " ".join(found.verdicts)


def test_pairing_narrows_the_interval_of_the_difference() -> None:
    table = runs(EFF, EFF)
    found = find(analyse(table), "D", "exponent")
    fits = [
        prepare_fit(table, "joint", metric, COLUMNS, OPTIONS, compare_forms=False).fitted()
        for metric in ("eff", "ood")
    ]
    apart = [bootstrap([fit], 200, seed).params[0][:, 3] for seed, fit in enumerate(fits)]
    low, high = np.quantile(apart[1] - apart[0], [0.025, 0.975])
    assert found.interval[1] - found.interval[0] < 0.5 * (high - low)


def test_record_is_json_with_verdicts_and_warnings() -> None:
    record = analyse(runs(EFF, ROB), FitOptions(bootstrap=30, starts=50)).to_json()
    assert json.loads(json.dumps(record)) == json.loads(json.dumps(record, allow_nan=False))
    assert len(record["differences"]) == len(record["verdicts"]) == 4
    assert set(record["warnings"]) == {"eff", "ood"}


def test_too_few_configurations_and_mixed_strategies_are_refused() -> None:
    few = runs(EFF, ROB)
    few = few[(few["N"] < 2e6) & (few["D"] < 2e4)]
    with pytest.raises(TableError, match="configurations are too few"):
        analyse(few)
    mixed = runs(EFF, ROB)
    mixed["strategy"] = ["standard", "pareto"] * (len(mixed) // 2)
    with pytest.raises(FitRefusedError, match="MIXED_STRATEGY"):
        analyse(mixed)
    with pytest.raises(TableError, match="need a bootstrap"):
        analyse(runs(EFF, ROB), FitOptions(bootstrap=0))

"""Measured multipliers: planted ones, ends of what was run, pooling, pairing of seeds, coverage."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sweeps.cli import main
from sweeps.diagnostics import FitRefusedError
from sweeps.efficiency import EfficiencyOptions
from sweeps.efficiency import efficiency as compute
from sweeps.efficiency.measured import Series, joined
from sweeps.efficiency.multipliers import falling, reached, summaries, written
from sweeps.efficiency.record import Row
from sweeps.fitting.laws import Floats
from sweeps.fitting.result import FitOptions

N, D = "size/params_non_embedding", "size/train_pairs"
EFF, OOD = "eff/contrastive_entropy", "ood/contrastive_entropy"
LEVELS = (1000, 2000, 4000, 8000, 16000, 32000)
SLOPES = {EFF: 0.3, OOD: 0.1}

Noise = Callable[[str, int, int], Floats]
"""(strategy, D, seed) -> noise of ln metric, [metrics]."""


def quiet(strategy: str, d: int, seed: int) -> Floats:
    return np.zeros(2)


def power(worth: dict[str, float]) -> Callable[[str, float], float]:
    """ln metric of a power law without floor, whose data are worth so many times as much."""
    return lambda metric, d: 2.0 - SLOPES[metric] * np.log(d * worth[metric] / 1000)


def runs(
    worth: dict[str, float],
    noise: Noise = quiet,
    seeds: Sequence[int] = (1, 2, 3),
    levels: Sequence[int] = LEVELS,
    other_seeds: Sequence[int] | None = None,
) -> pd.DataFrame:
    """``standard`` at all LEVELS, ``pareto`` at ``levels`` with data worth ``worth`` times as much."""
    rows = []
    for strategy, law, where, own in (
        ("standard", power({EFF: 1, OOD: 1}), LEVELS, seeds),
        ("pareto", power(worth), levels, other_seeds or seeds),
    ):
        for d in where:
            for seed in own:
                wobble = noise(strategy, d, seed)
                rows.append(
                    {"run": f"{strategy}{d}{seed}", "strategy": strategy, "model": "m", "seed": seed}
                    | {"frac": d / 32000, N: 1e6, D: d}
                    | {name: np.exp(law(name, d) + part) for name, part in zip((EFF, OOD), wobble)}
                )
    return pd.DataFrame(rows)


def measured(table: pd.DataFrame, draws: int = 200, metrics: tuple[str, ...] = (EFF, OOD)) -> dict[str, Any]:
    options = EfficiencyOptions(
        metrics=metrics, law="interpolated", resources=("D",), fit=FitOptions(bootstrap=draws)
    )
    return compute(table, options=options).to_json()


def codes(record: dict[str, Any]) -> set[str]:
    return {item["code"] for item in record["warnings"]}


def at(record: dict[str, Any], d: float) -> dict[str, Any]:
    row = next(row for row in record["levels"] if row["scale"] == d)
    return {key: value for key, value in row.items() if key != "resource"}


@pytest.mark.parametrize("k", [1.0, 1.7, 4.0])
def test_planted_multipliers_of_power_laws_are_found_exactly(k: float) -> None:
    record = measured(runs({EFF: k, OOD: 2 * k}))
    row = at(record, 2000)
    assert row[EFF]["multiplier"] == pytest.approx(k, rel=1e-9)
    assert row[OOD]["multiplier"] == pytest.approx(2 * k, rel=1e-9)
    assert row["both"] == row[OOD]
    assert row["each"] == row[EFF]
    # Without noise the interval is the estimate.
    assert [row["each"]["low"], row["each"]["high"]] == pytest.approx([k, k], rel=1e-9)


def test_beyond_the_largest_amount_is_more_than_and_said_by_code() -> None:
    record = measured(runs({EFF: 1.5, OOD: 3.0}))
    row = at(record, 16000)
    assert row[EFF]["multiplier"] == pytest.approx(1.5)
    assert row["both"]["multiplier"] == row[OOD]["multiplier"] == "unbounded"
    assert row["both"]["unbounded_share"] == 1.0
    assert row["range"] == [1000 / 16000, 2.0]
    assert written(Row.from_json(row), "both") == "> 2× [> 2, > 2]"
    assert "BEYOND_BASELINE_RANGE" in codes(record)
    assert "TARGET_BELOW_FLOOR" not in codes(record)
    assert record["headline"]["D"]["each"]["multiplier"] == "unbounded"


def test_below_the_least_amount_is_less_than_and_said_by_code() -> None:
    record = measured(runs({EFF: 0.25, OOD: 1.0}))
    row = at(record, 2000)
    assert row["each"]["multiplier"] == row[EFF]["multiplier"] == "below"
    assert written(Row.from_json(row), "each") == "< 0.5× [< 0.5, < 0.5]"
    assert row["both"]["multiplier"] == pytest.approx(1.0)
    assert "BELOW_BASELINE_RANGE" in codes(record)


def test_a_strategy_may_be_run_at_one_level_of_its_own() -> None:
    record = measured(runs({EFF: 3.0, OOD: 3.0}, levels=(3000,)))
    assert [row["scale"] for row in record["levels"]] == [3000.0]
    assert record["headline"]["D"]["both"]["multiplier"] == pytest.approx(3.0)


def test_one_level_of_the_baseline_is_refused() -> None:
    table = runs({EFF: 3.0, OOD: 3.0})
    with pytest.raises(FitRefusedError, match=r"FEWER_THAN_3_LEVELS: .* fewer than 2 \(the strategy 1\)"):
        measured(table[(table["strategy"] == "pareto") | (table[D] == 4000)])


def test_levels_that_differ_by_a_few_pairs_are_one() -> None:
    table = runs({EFF: 2.0, OOD: 2.0})
    table[D] += (table["seed"] == 2) * (table[D] >= 4000)
    record = measured(table)
    assert len(record["levels"]) == len(LEVELS)
    assert at(record, 4000)["both"]["multiplier"] == pytest.approx(2.0, rel=1e-3)


def test_noise_that_breaks_monotonicity_is_pooled_between_the_levels() -> None:
    x, y = np.log([1.0, 2.0, 4.0, 8.0]), np.array([[4.0, 2.0, 2.2, 1.0], [4.0, 3.0, 2.0, 1.0]])
    knots, levels = falling(x, y, np.ones(4))
    middle = np.sqrt(8.0)
    assert np.exp(knots) == pytest.approx(np.array([[1.0, middle, middle, 8.0], [1.0, 2.0, 4.0, 8.0]]))
    assert levels == pytest.approx(np.array([[4.0, 2.1, 2.1, 1.0], y[1]]))
    weighted, _ = falling(x, y, np.array([3.0, 3.0, 1.0, 3.0]))
    assert weighted[0, 1] == pytest.approx((3 * np.log(2) + np.log(4)) / 4)
    amounts = reached(x, y[:1], np.ones(4), np.array([[2.1, 4.0, 1.0, 4.1, 0.9]]))
    assert amounts[0] == pytest.approx([middle, 1.0, 8.0, 0.0, np.inf])


def test_nothing_is_beyond_a_pooled_end_that_a_point_in_it_reaches() -> None:
    x, y = np.log([1.0, 2.0, 4.0, 8.0]), np.array([[3.0, 3.2, 1.0, 1.2]])
    first, last = np.sqrt(2.0), np.sqrt(32.0)
    amounts = reached(x, y, np.ones(4), np.array([[3.1, 3.2, 3.21, 2.1, 1.1, 1.0, 0.99]]))[0]
    assert amounts == pytest.approx([first, first, 0.0, np.sqrt(8.0), last, last, np.inf])


def test_pooled_levels_are_named() -> None:
    table = runs({EFF: 2.0, OOD: 2.0})
    table.loc[(table["strategy"] == "standard") & (table[D] == 8000), EFF] *= 1.3
    record = measured(table)
    (found,) = (item["message"] for item in record["warnings"] if item["code"] == "LEVELS_POOLED")
    assert found == f"standard, {EFF} gets worse by 5.6 % from D = 4000 to 8000"
    assert 4000 < 2000 * at(record, 2000)[EFF]["multiplier"] < 8000


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=8), st.floats(-4, 4), st.floats(0, 3))
def test_the_inverse_falls_with_the_target(heights: list[float], target: float, step: float) -> None:
    x, y = np.log(2.0) * np.arange(len(heights)), np.array(heights)
    amounts = reached(x, y[None], np.ones(len(y)), np.array([[target, target - step]]))[0]
    assert amounts[0] <= amounts[1]
    inside = amounts[np.isfinite(amounts) & (amounts > 0)]
    assert np.all((inside >= 1 - 1e-9) & (inside <= 2 ** (len(y) - 1) * (1 + 1e-9)))


def test_the_interval_is_the_paired_t_interval_where_the_multiplier_is_linear() -> None:
    """ln multiplier = (ln y_b − ln y_s)/slope while target and knots stay in order: an exact case."""
    generator = np.random.default_rng(3)
    drawn = {(s, seed): generator.normal(0, 0.004, 2) for s in ("standard", "pareto") for seed in range(5)}
    table = runs({EFF: 3.0, OOD: 3.0}, lambda s, d, seed: drawn[s, seed], seeds=range(5))
    row = at(measured(table, draws=20_000), 2000)
    shift = np.array([drawn["standard", seed][0] - drawn["pareto", seed][0] for seed in range(5)])
    logs = (shift + SLOPES[EFF] * np.log(3.0)) / SLOPES[EFF]
    low, high = stats.t.interval(0.95, 4, logs.mean(), logs.std(ddof=1) / np.sqrt(5))
    assert row[EFF]["multiplier"] == pytest.approx(np.exp(logs.mean()), rel=1e-9)
    assert np.log([row[EFF]["low"], row[EFF]["high"]]) == pytest.approx([low, high], abs=0.03 * (high - low))


def test_what_a_seed_does_to_both_strategies_cancels() -> None:
    effect = {1: 0.05, 2: -0.04, 3: -0.01, 4: 0.05, 5: -0.04, 6: -0.01}

    def noise(strategy: str, d: int, seed: int) -> Floats:
        return np.full(2, effect[seed])

    paired = measured(runs({EFF: 3.0, OOD: 3.0}, noise))
    row = at(paired, 2000)
    assert [row["both"]["low"], row["both"]["high"]] == pytest.approx([3.0, 3.0], rel=1e-6)
    assert not codes(paired) & {"SEEDS_NOT_SHARED", "SINGLE_SEED"}
    apart = measured(runs({EFF: 3.0, OOD: 3.0}, noise, other_seeds=(4, 5, 6)))
    assert at(apart, 2000)[EFF]["multiplier"] == pytest.approx(3.0)
    assert at(apart, 2000)[EFF]["high"] > 1.2 * 3.0
    (message,) = (item["message"] for item in apart["warnings"] if item["code"] == "SEEDS_NOT_SHARED")
    assert "standard lacks seed 4" in message


def test_a_seed_that_is_missing_at_one_level_is_named() -> None:
    table = runs({EFF: 3.0, OOD: 3.0})
    table = table[~((table["strategy"] == "pareto") & (table[D] == 4000) & (table["seed"] == 2))]
    (message,) = (i["message"] for i in measured(table)["warnings"] if i["code"] == "SEEDS_NOT_SHARED")
    assert message.startswith("pareto lacks seed 2 at 4000;")


def test_single_seeds_give_a_multiplier_without_interval() -> None:
    record = measured(runs({EFF: 3.0, OOD: 3.0}, seeds=(1,)))
    row = at(record, 2000)
    assert row["both"] == {
        "multiplier": pytest.approx(3.0),
        "low": None,
        "high": None,
        "unbounded_share": None,
    }
    (message,) = (item["message"] for item in record["warnings"] if item["code"] == "SINGLE_SEED")
    assert message.startswith("no interval: one seed for standard at D = 1000")


def test_metrics_of_which_more_is_better_can_be_matched() -> None:
    table = runs({EFF: 3.0, OOD: 3.0})
    table["eff/ndcg@10"] = 1 / table[EFF]
    record = measured(table, metrics=("eff/ndcg@10",))
    assert at(record, 2000)["both"]["multiplier"] == pytest.approx(3.0)


def test_along_n_and_flops_too() -> None:
    rows = []
    for strategy, worth in (("standard", 1.0), ("pareto", 1.5)):
        for n in (1e6, 2e6, 4e6):
            value = (n * worth) ** -0.2
            row = {"strategy": strategy, "seed": 1, N: n, D: 1000, "cost/train_flops": 6 * n}
            rows.append(row | {EFF: value, OOD: value})
    record = compute(pd.DataFrame(rows), options=EfficiencyOptions(law="interpolated")).to_json()
    assert record["headline"]["N"]["scale"] == 4e6
    found = {row["resource"]: row["both"]["multiplier"] for row in record["levels"] if row["scale"] < 7e6}
    assert found["FLOPs"] == pytest.approx(1.5)
    assert "fewer than 2" in record["refused"]["D"]


def test_seeds_that_saw_other_tokens_are_no_levels_of_flops() -> None:
    rows = []
    for strategy, worth in (("standard", 1.0), ("pareto", 1.5)):
        for n in (1e6, 2e6, 4e6):
            for seed, tokens in ((1, 1.0), (2, 1.003)):
                value = (n * worth) ** -0.2
                row = {"strategy": strategy, "seed": seed, N: n, D: 1000, "cost/train_flops": 6 * n * tokens}
                rows.append(row | {EFF: value, OOD: value})
    record = compute(pd.DataFrame(rows), options=EfficiencyOptions(law="interpolated")).to_json()
    found = [row["scale"] for row in record["levels"] if row["resource"] == "FLOPs"]
    assert found == pytest.approx([6 * n * 1.0015 for n in (1e6, 2e6, 4e6)])


def test_lines_between_levels_of_a_law_with_floor_err_by_little() -> None:
    """A chord lies above a convex curve: it overstates the amount, by under 5 % between levels 2 × apart."""

    def law(d: Floats | float) -> Floats:
        return np.log((6e3 / np.asarray(d)) ** 0.6 + 0.5)

    x = np.array(LEVELS, dtype=float)
    wanted = np.geomspace(1000, 32000, 200)
    error = reached(np.log(x), law(x)[None], np.ones(6), law(wanted)[None])[0] / wanted - 1
    assert error.min() > -1e-9
    assert 0.005 < error.max() < 0.05


def test_command_says_more_than(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = f"{tmp_path}/runs.csv", f"{tmp_path}/efficiency.json"
    runs({EFF: 2.0, OOD: 4.0}).to_csv(source, index=False)
    assert main(["efficiency", "--table", source, "--law", "interpolated", "--out", out]) == 0
    said = capsys.readouterr().out
    assert "  on D, m, interpolated:" in said
    assert re.search(r"32,000( +> 1× \[> 1, > 1\]){4}\n", said)
    assert re.search(r"2,000 +2× \[2, 2\] +4× \[4, 4\] +4× \[4, 4\] +2× \[2, 2\]\n", said)
    assert main(["efficiency", "--table", source, "--law", "spline", "--out", out]) == 2
    assert "--law spline does not exist; choose one of auto, joint" in capsys.readouterr().err


SWEEPS = 1000


def simulated(
    generator: np.random.Generator, effect: Floats, worth: tuple[float, float], at: float = 2000.0
) -> dict[str, tuple[float, float]]:
    """Intervals of the multipliers at ``at`` in one sweep with the seeds' effects [seeds, metrics]."""

    def side(label: str, sizes: Floats, k: int, gain: float) -> Series:
        metric, slope = list(SLOPES.items())[k]
        logs = 2.0 - slope * np.log(sizes * gain / 1000) + effect[:, [k]]
        return from_logs(label, metric, sizes, logs + 0.01 * generator.standard_normal(logs.shape))

    levels, place = np.array(LEVELS, dtype=float), np.array([at])
    pairs = [(side("standard", levels, k, 1.0), side("pareto", place, k, worth[k])) for k in (0, 1)]
    pair = joined(pairs, FitOptions(bootstrap=400))
    found = {name: pair.multiplier(k, "D", place, 1e6) for k, name in enumerate(SLOPES)}
    numbers = {"unbounded": np.inf, "below": 0.0}
    by = summaries(found, 0.95, measured=True)
    ends = {name: [one.to_json()[end][0] for end in ("low", "high")] for name, one in by.items()}
    return {name: tuple(numbers.get(end, end) for end in pair) for name, pair in ends.items()}


def from_logs(label: str, metric: str, sizes: Floats, logs: Floats) -> Series:
    """A series of runs with ln metric [seeds, levels]."""
    count = len(logs)
    deviations = (logs - logs.mean(axis=0)) / np.sqrt(count * (count - 1))
    seeds = [f"{seed}#0" for seed in range(count)]
    return Series(label, metric, sizes, logs.mean(axis=0), seeds, np.ones(logs.shape, bool), deviations)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("worth", [(2.5, 5.0), (4.0, 4.0)])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, worth: tuple[float, float]) -> None:
    """1,000 sweeps with 1 % noise a run and a seed effect that both strategies share."""
    truth = {EFF: worth[0], OOD: worth[1], "both": max(worth), "each": min(worth)}
    hits, above = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for number in range(SWEEPS):
        generator = np.random.default_rng([7, number])
        found = simulated(generator, 0.01 * generator.standard_normal((seeds, 2)), worth)
        for name, (low, high) in found.items():
            hits[name] += low <= truth[name] <= high
            above[name] += low > truth[name]
    for name in truth:
        assert 0.92 <= hits[name] / SWEEPS <= 0.995, (name, hits[name] / SWEEPS)
        assert above[name] / SWEEPS < 0.045, (name, above[name] / SWEEPS)

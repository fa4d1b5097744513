"""Paired comparison: intervals, correction, choice of the best fixed ω, regret, what cannot be said."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from retrieval.errors import ConfigError, DataError
from retrieval.run.files import plain
from sweeps import comparison
from sweeps.cli import main
from sweeps.comparison import CompareOptions
from sweeps.comparison.cells import difference, holm
from sweeps.comparison.record import describe
from sweeps.diagnostics import FitRefusedError, TableError

EFF, OOD = "eff/contrastive_entropy", "ood/contrastive_entropy"
WITH_REGRET = CompareOptions(regret=True)

Values = Mapping[str, tuple[float, float]]
"""Strategy (``standard``, ``pareto dev``, or ω of a fixed run) -> eff and ood."""


def compare(*given: Any) -> dict[str, Any]:
    """The record as it is written."""
    return comparison.compare(*given).to_json()


def row(name: str, frac: float, seed: int, eff: float, ood: float, dev: float | None) -> dict[str, Any]:
    kind: dict[str, Any] = {"strategy": name}
    if name.startswith("pareto "):
        kind = {"strategy": "pareto", "omega/rule": name.split()[1], "omega/final": 0.4}
    elif name[0].isdigit():
        kind = {"strategy": "pareto", "omega/rule": "fixed", "omega/final": float(name)}
    place = {"run": f"{name}{frac}{seed}", "model": "m", "frac": frac, "seed": seed}
    steering = {f"dev/{EFF}": dev, f"dev/{OOD}": dev} if dev is not None else {}
    return kind | place | {EFF: eff, OOD: ood} | steering


def cell(frac: float, values: Values, dev: Mapping[str, float] | None = None, seeds: int = 3) -> pd.DataFrame:
    """A cell whose seeds shift all strategies together, so that paired differences are exact."""
    return pd.DataFrame(
        [
            row(name, frac, seed, eff + 0.1 * seed, ood - 0.2 * seed, (dev or {}).get(name))
            for name, (eff, ood) in values.items()
            for seed in range(seeds)
        ]
    )


def table(*parts: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def only(record: dict[str, Any]) -> dict[str, Any]:
    (found,) = record["cells"]
    return dict(found)


def codes(record: dict[str, Any]) -> set[str]:
    return {item["code"] for item in record["warnings"]}


def test_paired_interval_and_p_are_those_of_the_t_test() -> None:
    generator = np.random.default_rng(1)
    first = pd.Series(generator.normal(2, 1, 4), index=[1, 2, 3, 4])
    second = first + generator.normal(-0.5, 0.1, 4)
    found = difference(first, second.sample(frac=1, random_state=2), 0.95)
    expected = stats.ttest_rel(second, first)
    interval = expected.confidence_interval(0.95)
    assert (found.n, found.df, found.method) == (4, 3, "paired")
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.difference == pytest.approx(float((second - first).mean()))


def test_without_shared_seeds_the_interval_is_welchs() -> None:
    first, second = pd.Series([1.0, 2.0, 4.0], index=[1, 2, 3]), pd.Series([3.0, 3.5], index=[4, 5])
    found = difference(first, second, 0.9)
    expected = stats.ttest_ind(second, first, equal_var=False)
    interval = expected.confidence_interval(0.9)
    assert (found.n, found.method) == (0, "unpaired")
    assert found.df == pytest.approx(expected.df)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_seeds_of_one_side_alone_are_left_out() -> None:
    first = pd.Series([1.0, 2.0, 9.0], index=[1, 2, 3])
    found = difference(first, pd.Series([1.5, 2.7, 50.0], index=[1, 2, 4]), 0.95)
    assert found.n == 2
    assert found.difference == pytest.approx(0.6)


def test_equal_runs_differ_by_nothing_and_constant_shifts_are_certain() -> None:
    first = pd.Series([1.0, 2.0], index=[1, 2])
    same, shifted = difference(first, first, 0.95), difference(first, first + 0.5, 0.95)
    assert (same.low, same.high, same.p) == (0.0, 0.0, 1.0)
    assert (shifted.low, shifted.high, shifted.p) == (0.5, 0.5, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 5])
def test_paired_intervals_hold_the_truth_95_times_in_100(n: int) -> None:
    generator = np.random.default_rng(n)
    hits = 0
    for _ in range(2000):
        effect = generator.normal(0, 3, n)
        first = pd.Series(effect + generator.normal(0, 1, n))
        found = difference(first, pd.Series(effect + 0.7 + generator.normal(0, 1, n)), 0.95)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 0.7 <= found.high
    assert 0.935 <= hits / 2000 <= 0.965


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_is_the_step_down_of_bonferroni(values: list[float]) -> None:
    adjusted = holm([*values, None])
    assert adjusted[-1] is None
    order = np.argsort(values, kind="stable")
    expected = 0.0
    for rank, k in enumerate(order):
        expected = max(expected, min(1.0, (len(values) - rank) * values[k]))
        assert adjusted[k] == pytest.approx(expected)


def test_every_metric_and_their_mean_in_nats() -> None:
    record = compare(cell(0.5, {"standard": (2.0, 3.0), "pareto dev": (1.9, 2.5)}), "standard", "pareto dev")
    entry = only(record)["by"]
    assert {name: part["difference"] for name, part in entry.items()} == pytest.approx(
        {EFF: -0.1, OOD: -0.5, "mean": -0.3}
    )
    assert entry["mean"]["strategy"] == pytest.approx(np.mean([1.9 + 0.1, 2.5 - 0.2]))
    assert entry[EFF]["better"] == "strategy"
    assert record["counts"]["mean"] == {"strategy": 1, "baseline": 0, "undecided": 0}
    assert only(record)["name"] == "m, frac 0.5"
    assert record["warnings"] == []
    json.dumps(plain(record), allow_nan=False)


def test_cells_are_corrected_each_metric_by_itself() -> None:
    generator = np.random.default_rng(4)
    parts = []
    for frac in (0.1, 0.5, 1.0):
        part = cell(frac, {"standard": (2.0, 3.0), "pareto dev": (1.95, 2.9)}, seeds=4)
        part[[EFF, OOD]] += generator.normal(0, 0.05, (len(part), 2))
        parts.append(part)
    record = compare(table(*parts), "standard", "pareto dev")
    for name in (EFF, OOD, "mean"):
        raw = [line["by"][name]["p"] for line in record["cells"]]
        assert [line["by"][name]["p_holm"] for line in record["cells"]] == holm(raw)
    assert record["correction"] == "Holm over 3 cells, each metric by itself"


def test_single_seeds_give_a_difference_without_interval() -> None:
    record = compare(cell(1.0, {"standard": (2, 3), "pareto dev": (1, 2)}, seeds=1), "standard", "pareto dev")
    entry = only(record)["by"][EFF]
    assert entry["difference"] == pytest.approx(-1.0)
    assert [entry[key] for key in ("low", "high", "p", "p_holm", "df", "better")] == [None] * 6
    assert "SINGLE_SEED" in codes(record)


def test_metrics_of_which_more_is_better() -> None:
    frame = cell(1.0, {"standard": (2, 3), "pareto dev": (1, 2)}).assign(**{"eff/ndcg@10": lambda t: -t[EFF]})
    record = compare(frame, "standard", "pareto dev", CompareOptions(metrics=("eff/ndcg@10", OOD)))
    entry = only(record)["by"]
    assert entry["eff/ndcg@10"]["difference"] == pytest.approx(1.0)
    assert entry["eff/ndcg@10"]["better"] == entry[OOD]["better"] == "strategy"
    assert "mean" not in entry
    assert "NO_COMMON_UNIT" in codes(record)


def test_best_fixed_is_chosen_on_dev_in_every_cell_and_standard_is_omega_0() -> None:
    values = {"standard": (2.0, 3.0), "0.25": (1.5, 2.5), "0.5": (1.0, 2.0), "pareto dev": (1.2, 2.2)}
    frame = table(
        cell(0.1, values, {"standard": 3.0, "0.25": 2.0, "0.5": 2.5, "pareto dev": 1.0}),
        cell(1.0, values, {"standard": 1.0, "0.25": 2.0, "0.5": 2.5, "pareto dev": 1.0}),
    )
    record = compare(frame, "best-fixed", "pareto dev")
    assert [(line["baseline"], line["omega"]) for line in record["cells"]] == [
        ("fixed ω=0.25", 0.25),
        ("standard", 0.0),
    ]
    assert record["cells"][0]["by"][EFF]["difference"] == pytest.approx(-0.3)
    assert record["chosen_on"] == [f"dev/{EFF}", f"dev/{OOD}"]
    with pytest.raises(ConfigError, match=r"chooses ω on dev metrics, and the table lacks dev/eff"):
        compare(frame.drop(columns=[f"dev/{EFF}"]), "best-fixed", "pareto dev")


def test_a_rule_can_be_better_than_any_single_omega() -> None:
    """ω = 0.5 is best with few pairs and ω = 0 with many; the rule is near the best in both."""
    few = {"standard": (3.0, 4.0), "0.25": (2.6, 3.6), "0.5": (2.5, 3.5), "pareto dev": (2.52, 3.52)}
    many = {"standard": (1.5, 2.5), "0.25": (1.6, 2.6), "0.5": (1.9, 2.9), "pareto dev": (1.53, 2.53)}
    dev_few = {"standard": 3.0, "0.25": 2.0, "0.5": 2.1, "pareto dev": 2.0}
    dev_many = {"standard": 1.0, "0.25": 1.1, "0.5": 2.0, "pareto dev": 1.0}
    record = compare(
        table(cell(0.1, few, dev_few), cell(1.0, many, dev_many)), "standard", "pareto dev", WITH_REGRET
    )
    regret = record["regret"]
    assert regret["candidates"] == {"standard": 0.0, "fixed ω=0.25": 0.25, "fixed ω=0.5": 0.5}
    reported = regret["by"]["mean"]["reported"]
    assert reported["best"] == {"m, frac 0.1": "fixed ω=0.5", "m, frac 1": "standard"}
    worst = {label: policy["worst"] for label, policy in reported["policies"].items()}
    assert worst == pytest.approx(
        {"pareto dev": 0.03, "standard": 0.5, "fixed ω=0.25": 0.1, "fixed ω=0.5": 0.4}
    )
    assert reported["policies"]["pareto dev"]["worst_cell"] == "m, frac 1"
    assert reported["verdict"]["best_single"] == "fixed ω=0.25"
    assert reported["verdict"]["better_than_any_single"] is True
    assert min(min(c["regret"] for c in p["cells"].values()) for p in reported["policies"].values()) > -1e-12
    dev = regret["by"]["mean"]["dev"]
    assert dev["best"]["m, frac 0.1"] == "fixed ω=0.25"
    assert dev["policies"]["fixed ω=0.5"]["cells"]["m, frac 0.1"]["regret"] == pytest.approx(-0.1)
    assert dev["policies"]["pareto dev"]["mean"] == pytest.approx((-0.08 + 0.03) / 2)


def test_an_omega_that_is_missing_in_a_cell_is_no_single_omega() -> None:
    values = {"standard": (3.0, 4.0), "0.5": (2.5, 3.5), "pareto dev": (2.6, 3.6)}
    frame = table(cell(0.1, values), cell(1.0, {key: values[key] for key in ("standard", "pareto dev")}))
    found = compare(frame, "standard", "pareto dev", WITH_REGRET)["regret"]["by"]["mean"]
    assert found["reported"]["policies"]["fixed ω=0.5"]["missing"] == ["m, frac 1"]
    assert found["reported"]["verdict"]["best_single"] == "standard"
    assert found["dev"] is None
    assert "NO_DEV_METRICS" in codes(compare(frame, "standard", "pareto dev", WITH_REGRET))


def test_regret_in_a_metric_of_which_more_is_better_is_what_is_lost() -> None:
    values = {"standard": (0.4, 0.3), "0.5": (0.5, 0.4), "pareto dev": (0.45, 0.35)}
    frame = cell(1.0, values).rename(columns={EFF: "eff/ndcg@10"})
    options = CompareOptions(metrics=("eff/ndcg@10",), regret=True)
    found = compare(frame, "standard", "pareto dev", options)["regret"]["by"]["eff/ndcg@10"]["reported"]
    assert found["policies"]["pareto dev"]["worst"] == pytest.approx(0.05)
    assert found["policies"]["standard"]["worst"] == pytest.approx(0.1)


def test_what_is_uneven_is_named() -> None:
    full = cell(0.1, {"standard": (2, 3), "pareto dev": (1, 2)})
    frame = table(full, cell(1.0, {"standard": (2, 3)}))
    record = compare(frame, "standard", "pareto dev")
    assert codes(record) == {"CELLS_LEFT_OUT"}
    record = compare(full.iloc[1:], "standard", "pareto dev")
    assert only(record)["seeds"] == {"shared": [1, 2], "baseline_only": [], "strategy_only": [0]}
    assert codes(record) == {"SEEDS_NOT_SHARED"}
    twice = table(full, full.iloc[:1].assign(run="again"))
    assert codes(compare(twice, "standard", "pareto dev")) == {"MIXED_SETTINGS"}


def test_refusals_are_one_line() -> None:
    frame = cell(0.1, {"standard": (2, 3), "pareto dev": (1, 2)})
    with pytest.raises(ConfigError, match=r"--baseline pooled: no such runs; .* or say best-fixed"):
        compare(frame, "pooled", "pareto dev")
    with pytest.raises(ConfigError, match="--strategy dro: no such runs; the table has pareto dev, standard"):
        compare(frame, "standard", "dro")
    with pytest.raises(TableError, match="adv/contrastive_entropy"):
        compare(frame, "standard", "pareto dev", CompareOptions(metrics=("adv/contrastive_entropy",)))
    with pytest.raises(ConfigError, match="--by size: no such column"):
        compare(frame, "standard", "pareto dev", CompareOptions(by=("size",)))
    apart = table(cell(0.1, {"standard": (2, 3)}), cell(1.0, {"pareto dev": (1, 2)}))
    with pytest.raises(DataError, match="no cell of model, frac has both"):
        compare(apart, "standard", "pareto dev")
    others = cell(0.1, {"pooled": (2, 3), "pareto dev": (1, 2)})
    with pytest.raises(ConfigError, match="no run keeps ω"):
        compare(others, "pooled", "pareto dev", WITH_REGRET)
    with pytest.raises(FitRefusedError, match="MIXED_NEGATIVES_W"):
        compare(frame.assign(**{"eval/negatives": [255.0] + [256.0] * 5}), "standard", "pareto dev")


def test_command_says_it_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = {"standard": (3.0, 4.0), "0.5": (2.5, 3.5), "pareto dev": (2.45, 3.45)}
    source, out = tmp_path / "runs.csv", tmp_path / "compare.json"
    cell(0.1, values, dict.fromkeys(values, 1.0)).to_csv(source, index=False)
    asked = ["compare", "--table", str(source), "--strategy", "pareto dev", "--out", str(out), "--regret"]
    assert main([*asked, "--baseline", "best-fixed"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"m, frac 0.1 +standard +3 +-0.5500 \[-0.5500, -0.5500\] p=0.000\*", said)
    assert "mean: better in 1 of 1 cells, worse in 0, undecided in 0" in said
    assert "worst regret of pareto dev -0.0500, below that of every single ω" in said
    assert "(least: fixed ω=0.5, 0.0000)" in said
    assert json.loads(out.read_text())["cells"][0]["omega"] == 0.0
    assert main([*asked, "--by", "", "--metric", EFF]) == 0
    assert "all runs" in capsys.readouterr().out


def test_a_change_is_the_difference_of_differences_paired_by_seed() -> None:
    random = np.random.default_rng(3)
    noise = random.normal(0, 0.05, (2, 3, 4))  # model, seed, value
    sizes = {"b-first-by-name": (9e6, -0.10), "small": (1e6, -0.30)}
    rows = [
        row("standard" if side == 0 else "pareto dev", 0.5, seed, 2.0 + gain * side + drawn, 3.0, None)
        | {"model": model, "size/params_non_embedding": size}
        for k, (model, (size, gain)) in enumerate(sizes.items())
        for seed in range(3)
        for side, drawn in enumerate(noise[k, seed, :2])
    ]
    options = CompareOptions(metrics=(EFF,), change="model")
    record = comparison.compare(pd.DataFrame(rows), "standard", "pareto dev", options)
    assert record.changes is not None
    (change,) = record.changes
    assert (change.cell, change.first) == ("b-first-by-name, frac 0.5", "small, frac 0.5")
    gains = [[-0.10, -0.30][k] + noise[k, :, 1] - noise[k, :, 0] for k in range(2)]
    expected = stats.ttest_rel(gains[0], gains[1])
    found = change.by[EFF]
    assert found.difference == pytest.approx(np.mean(gains[0] - gains[1]))
    assert found.p == pytest.approx(expected.pvalue)
    assert [found.low, found.high] == pytest.approx([*expected.confidence_interval(0.95)])
    assert "change of that difference" in "\n".join(describe(record))
    assert type(record).from_json(record.to_json()) == record


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("data", "--change data: not a column of --by; choose among model, frac"),
        ("model", "--change model: no two cells with both strategies differ in model alone"),
    ],
)
def test_a_change_needs_two_cells_that_differ_in_its_column(column: str, said: str) -> None:
    runs = table(*(cell(frac, {"standard": (2.0, 3.0), "pareto dev": (1.9, 2.9)}) for frac in (0.1, 1.0)))
    with pytest.raises(ConfigError, match=re.escape(said)):
        comparison.compare(runs, "standard", "pareto dev", CompareOptions(change=column))


def test_labels_that_state_a_setting_are_compared_within_a_cell() -> None:
    dropped = {"standard": (1.5, 2.5), "0.5": (1.4, 2.4)}
    parts = cell(0.5, {"standard": (2.0, 3.0), "0.5": (1.9, 2.9)}), cell(0.5, dropped)
    runs = table(*parts)
    runs["model/dropout"] = [None] * 6 + [0.1] * 6
    options = CompareOptions(label_by=("model/dropout",))
    record = comparison.compare(runs, "standard", "standard (model/dropout=0.1)", options)
    assert [line.by[EFF].difference for line in record.cells] == pytest.approx([-0.5])
    assert record.warnings == []
    assert type(record).from_json(record.to_json()) == record
    mixed = comparison.compare(runs, "standard (model/dropout=0.1)", "fixed ω=0.5", options)
    assert [line.by[OOD].difference for line in mixed.cells] == pytest.approx([0.4])
    with pytest.raises(ConfigError, match="--label-by model/width: no such column"):
        comparison.compare(runs, "standard", "fixed ω=0.5", CompareOptions(label_by=("model/width",)))


@pytest.mark.parametrize("baseline", ["untrained", "bm25"])
def test_a_reference_is_compared_with_the_run_that_measured_it(baseline: str) -> None:
    frame = cell(0.1, {"standard": (2.0, 3.0), "pareto dev": (1.0, 2.0)})
    before = frame[EFF] + pd.Series([0.4, 0.5, 0.6] * 2)
    found = compare(
        frame.assign(**{f"{baseline}/{EFF}": before}), baseline, "standard", CompareOptions(metrics=(EFF,))
    )
    judged = only(found)["by"][EFF]
    expected = stats.ttest_1samp([-0.4, -0.5, -0.6], 0)
    assert (judged["n"], judged["method"]) == (3, "paired")
    assert judged["difference"] == pytest.approx(-0.5)
    assert judged["p"] == pytest.approx(expected.pvalue)
    assert only(found)["seeds"]["shared"] == [0, 1, 2]
    assert not codes(found)


def test_a_run_without_the_reference_is_not_paired_with_one() -> None:
    frame = cell(0.1, {"standard": (2.0, 3.0)}).assign(**{f"untrained/{EFF}": [2.4, np.nan, 2.8]})
    found = compare(frame, "untrained", "standard", CompareOptions(metrics=(EFF,)))
    assert only(found)["seeds"] == {"shared": [0, 2], "baseline_only": [], "strategy_only": [1]}
    assert codes(found) == {"SEEDS_NOT_SHARED"}
    with pytest.raises(
        ConfigError, match="--baseline bm25: no run of standard has bm25/eff/contrastive_entropy"
    ):
        compare(frame, "bm25", "standard", CompareOptions(metrics=(EFF,)))
    with pytest.raises(ConfigError, match="--strategy pareto: no such runs"):
        compare(frame, "untrained", "pareto", CompareOptions(metrics=(EFF,)))


def test_a_reference_is_no_fixed_omega() -> None:
    frame = cell(0.1, {"0.5": (2.0, 3.0), "standard": (2.5, 3.5)}).assign(**{f"untrained/{EFF}": 4.0})
    options = CompareOptions(metrics=(EFF,), regret=True)
    assert compare(frame, "untrained", "fixed ω=0.5", options)["regret"]["candidates"] == {
        "standard": 0.0,
        "fixed ω=0.5": 0.5,
    }


def test_several_strategies_are_corrected_together() -> None:
    frame = table(
        *(
            cell(frac, {"standard": (2.0, 3.0), "pareto dev": (1.9, 2.9), "0.5": (1.8, 2.8)})
            for frac in (0.1, 1.0)
        )
    )
    random = np.random.default_rng(5)
    frame[EFF] += random.normal(0, 0.02, len(frame))
    options = CompareOptions(metrics=(EFF,))
    names = ["pareto dev", "fixed ω=0.5"]
    together = compare(frame, "standard", names, options)
    alone = [line for name in names for line in compare(frame, "standard", name, options)["cells"]]
    assert [line["name"] for line in together["cells"]] == [
        f"{name}: m, frac {frac:g}" for name in names for frac in (0.1, 1.0)
    ]
    assert [line["strategy"] for line in together["cells"]] == [name for name in names for _ in range(2)]
    ps = [line["by"][EFF]["p"] for line in together["cells"]]
    assert ps == [line["by"][EFF]["p"] for line in alone]
    assert [line["by"][EFF]["p_holm"] for line in together["cells"]] == holm(ps)
    assert together["correction"] == "Holm over 4 cells of 2 strategies, each metric by itself"
    assert "strategy" not in alone[0]


@pytest.mark.parametrize(
    ("baseline", "options", "said"),
    [
        ("standard", WITH_REGRET, "--regret takes one --strategy, and 2 are given"),
        ("standard", CompareOptions(change="frac"), "--change takes one --strategy"),
        ("untrained", CompareOptions(), "--baseline untrained takes one --strategy"),
    ],
)
def test_what_is_about_one_strategy_refuses_several(
    baseline: str, options: CompareOptions, said: str
) -> None:
    frame = cell(0.1, {"standard": (2.0, 3.0), "pareto dev": (1.9, 2.9), "0.5": (1.8, 2.8)})
    with pytest.raises(ConfigError, match=said):
        compare(frame, baseline, ["pareto dev", "fixed ω=0.5"], options)

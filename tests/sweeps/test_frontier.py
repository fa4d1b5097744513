"""The frontier: dominance and hypervolume against brute force, knees, bootstrap, the record."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_runs import Sweep, table

from retrieval.errors import ConfigError, DataError
from retrieval.run.files import plain
from retrieval.run.metric_names import larger_is_better
from sweeps.cli import main
from sweeps.fitting.configurations import aggregate, label_order, label_runs, strategy_label
from sweeps.frontier import trace
from sweeps.frontier.hypervolume import KNEE_RULES, dominates, hypervolume, knee, non_dominated
from sweeps.frontier.trace import FrontierOptions

X, Y = "eff/contrastive_entropy", "ood/contrastive_entropy"

grids = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=25).map(
    lambda rows: np.array(rows, dtype=float)
)


def frontier(*given: Any) -> dict[str, Any]:
    """The record as it is written."""
    return trace.frontier(*given).to_json()


def runs(points: list[tuple[float, float]], seeds: int = 1, **columns: object) -> pd.DataFrame:
    rows = [
        {"run": f"r{i}s{s}", "model": f"m{i}", "frac": 1.0, "strategy": "standard", "seed": s, X: x, Y: y}
        for i, (x, y) in enumerate(points)
        for s in range(seeds)
    ]
    return pd.DataFrame(rows).assign(**columns)


@given(grids)
def test_non_dominated_equals_the_definition(points: np.ndarray) -> None:
    expected = [not any(dominates(points)[:, j]) for j in range(len(points))]
    assert non_dominated(points).tolist() == expected


@given(grids)
def test_hypervolume_equals_the_count_of_dominated_unit_cells(points: np.ndarray) -> None:
    cells = [
        any(x <= i and y <= j for x, y in points) for i in range(7) for j in range(7)
    ]  # cell [i, i+1] × [j, j+1] is dominated when its lower corner is
    assert hypervolume(points, (7.0, 7.0)) == pytest.approx(sum(cells))


@given(grids, st.permutations(range(25)))
def test_hypervolume_ignores_order_and_dominated_points(points: np.ndarray, order: list[int]) -> None:
    shuffled = points[[i for i in order if i < len(points)]]
    worse = np.concatenate([shuffled, points + 1])
    assert hypervolume(worse, (9.0, 9.0)) == pytest.approx(hypervolume(points, (9.0, 9.0)))


def test_points_beyond_the_reference_add_nothing() -> None:
    assert hypervolume(np.array([[1.0, 1.0], [5.0, 0.0]]), (3.0, 3.0)) == pytest.approx(4.0)
    assert hypervolume(np.array([[4.0, 4.0]]), (3.0, 3.0)) == 0.0


@pytest.mark.parametrize("rule", KNEE_RULES)
def test_every_rule_finds_the_corner_of_an_l_shaped_frontier(rule: str) -> None:
    points = np.array([[0.0, 10.0], [1.0, 1.0], [10.0, 0.0], [9.0, 9.0]])
    assert knee(points, rule) == 1


@pytest.mark.parametrize("rule", KNEE_RULES)
@given(points=grids)
@settings(max_examples=40)
def test_a_knee_is_non_dominated_and_independent_of_units(rule: str, points: np.ndarray) -> None:
    best = knee(points, rule)
    assert non_dominated(points)[best]
    scaled = knee(points * [1000.0, 0.25] + [3.0, -7.0], rule)
    assert points[scaled].tolist() == pytest.approx(points[best].tolist())


def test_two_points_take_the_one_that_gives_up_least_over_all_runs() -> None:
    points = np.array([[1.0, 2.0], [1.01, 1.0], [1.2, 6.0]])
    assert knee(points) == 1


def test_record_has_what_training_reads() -> None:
    record = frontier(runs([(2.0, 3.0), (1.0, 4.0), (4.0, 2.5), (3.0, 5.0)]))
    assert record["knee"]["x"] == pytest.approx(2.0)
    assert record["knee"]["y"] == pytest.approx(3.0)
    assert record["rho"] == pytest.approx(1.5)
    assert record["omega_0"] == pytest.approx(0.6)
    by_name = {point["configuration"]: point for point in record["points"]}
    dominated = by_name["m3 · frac 1 · standard"]
    assert not dominated["non_dominated"]
    assert dominated["dominated_by"] == ["m0 · frac 1 · standard", "m1 · frac 1 · standard"]
    chance = math.log(257)
    assert record["hypervolume"]["reference"] == pytest.approx([chance, chance])
    expected = (chance - 1) * (chance - 4) + (chance - 2) * 1 + (chance - 4) * 0.5
    assert record["hypervolume"]["value"] == pytest.approx(expected)
    json.dumps(plain(record), allow_nan=False)


def test_stated_negatives_move_the_reference() -> None:
    record = frontier(runs([(1.0, 1.0)], **{"eval/negatives": 63.0}))
    assert record["hypervolume"]["reference"] == pytest.approx([math.log(64)] * 2)


def test_larger_is_better_metrics_are_maximised_and_have_no_rho() -> None:
    renamed = runs([(0.2, 0.9), (0.5, 0.5), (0.4, 0.4)]).rename(columns={X: "eff/ndcg@10", Y: "ood/ndcg@10"})
    record = frontier(renamed, FrontierOptions(x="eff/ndcg@10", y="ood/ndcg@10"))
    assert [point["non_dominated"] for point in record["points"]] == [True, True, False]
    assert record["rho"] is None
    assert record["omega_0"] is None
    assert "RHO_UNDEFINED" in [warning["code"] for warning in record["warnings"]]
    assert record["hypervolume"]["value"] == pytest.approx(0.2 * 0.9 + 0.3 * 0.5)


def test_without_second_seeds_no_probability_is_claimed() -> None:
    record = frontier(runs([(1.0, 2.0), (2.0, 1.0)]))
    assert {point["probability_non_dominated"] for point in record["points"]} == {None}
    assert record["hypervolume"]["interval"] is None
    assert {"SINGLE_SEED", "FRONTIER_TOO_SHORT"} == {warning["code"] for warning in record["warnings"]}


def test_probability_separates_clear_from_close_configurations() -> None:
    frame = runs([(1.0, 3.0), (2.0, 2.0), (2.001, 2.001), (3.0, 3.5)], seeds=4)
    frame[[X, Y]] *= np.exp(0.02 * np.tile([[1, 1], [1, -1], [-1, 1], [-1, -1]], (4, 1)))
    record = frontier(frame, FrontierOptions(replicates=400))
    chances = [point["probability_non_dominated"] for point in record["points"]]
    assert chances[0] == 1.0
    assert 0.1 < chances[1] < 1.0
    assert 0.1 < chances[2] < 1.0
    assert chances[3] == 0.0
    low, high = record["hypervolume"]["interval"]
    assert low < high


def test_seeded_and_independent_of_row_order() -> None:
    frame = table(Sweep(models=("bert-tiny", "bert-mini"), fractions=(0.25, 1.0), seeds=(1, 2)))
    first, again = frontier(frame), frontier(frame.sample(frac=1, random_state=3).reset_index(drop=True))
    assert first["hypervolume"]["value"] == pytest.approx(again["hypervolume"]["value"])
    assert first["knee"]["configuration"] == again["knee"]["configuration"]
    assert frontier(frame) == first


def test_groups_and_scaling_recover_a_power_law() -> None:
    rows = [
        {"run": f"{n}{d}", "model": f"m{n}", "frac": d, "strategy": "standard", "seed": 1}
        | {X: 8 * n**-0.2 * d**-0.3, Y: 9 * n**-0.1 * d**-0.4}
        | {"size/params_non_embedding": n, "size/train_pairs": d}
        for n in (1e6, 4e6, 16e6)
        for d in (1e3, 4e3)
    ]
    record = frontier(pd.DataFrame(rows))
    assert len(record["groups"]) == 6
    assert record["scaling"]["N"]["x"] == pytest.approx(2**-0.2 - 1)
    assert record["scaling"]["D"]["y"] == pytest.approx(2**-0.4 - 1)
    assert record["scaling"]["N"]["x_interval"] == pytest.approx([2**-0.2 - 1] * 2)


def test_labels_tell_fixed_omega_rules_and_bases_apart() -> None:
    def label(**columns: object) -> str:
        return strategy_label(pd.Series(columns))

    assert label(strategy="standard") == "standard"
    assert label(strategy="pareto", **{"omega/rule": "repeats", "omega/final": 0.4}) == "pareto"
    assert label(strategy="pareto", **{"omega/rule": "fixed", "omega/final": 0.25}) == "fixed ω=0.25"
    assert label(strategy="pareto", **{"omega/rule": "linear"}) == "pareto linear"
    assert label(strategy="pareto", base_strategy="hard-negative") == "pareto (hard-negative)"
    assert larger_is_better("ood/stdlib/ndcg@10")
    assert not larger_is_better("eff/contrastive_entropy")
    assert not larger_is_better("adv/success_rate")


def test_means_are_geometric_and_incomplete_runs_left_out() -> None:
    frame = runs([(1.0, 1.0)], seeds=3)
    frame.loc[1, [X, Y]] = 4.0
    frame.loc[2, X] = np.nan
    means = aggregate(label_runs(frame), (X, Y))
    assert means.table[X].tolist() == pytest.approx([2.0])
    assert means.table["n_runs"].tolist() == [2]
    assert frontier(frame)["n_left_out"] == 1


def test_same_seed_twice_is_named() -> None:
    frame = runs([(1.0, 1.0)], seeds=2).assign(seed=1)
    assert "MIXED_SETTINGS" in [warning["code"] for warning in frontier(frame)["warnings"]]


def test_bad_requests_are_one_clear_line() -> None:
    frame = runs([(1.0, 1.0)])
    with pytest.raises(ConfigError, match="no column adv/contrastive_entropy; the table has eff/"):
        frontier(frame, FrontierOptions(y="adv/contrastive_entropy"))
    with pytest.raises(ConfigError, match="chord, ideal, utility"):
        frontier(frame, FrontierOptions(knee="elbow"))
    with pytest.raises(ConfigError, match="--by size"):
        frontier(frame, FrontierOptions(by=("size",)))
    with pytest.raises(ConfigError, match="two objectives"):
        frontier(frame, FrontierOptions(y=X))
    with pytest.raises(DataError, match="no run has both"):
        frontier(frame.assign(**{X: np.nan}))


def test_command_writes_json_and_prints_the_knee(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "runs.csv", tmp_path / "frontier.json"
    runs([(2.0, 3.0), (1.0, 4.0), (4.0, 2.5)]).to_csv(source, index=False)
    assert main(["frontier", "--table", str(source), "--out", str(out)]) == 0
    assert "ρ* = R*/E* = 1.5000, ω₀ = R*/(E*+R*) = 0.6000" in capsys.readouterr().out
    assert json.loads(out.read_text())["knee"]["configuration"] == "m0 · frac 1 · standard"
    assert main(["frontier", "--table", str(source), "--reference", "5", "--out", str(out)]) == 2
    assert "--reference 5: expected two numbers" in capsys.readouterr().err


def test_ways_of_mixing_are_told_apart_for_every_strategy_that_mixes() -> None:
    rows = pd.DataFrame(
        {"strategy": ["standard", "adversarial", "adversarial"], "omega/mixing": [None, "steps", "loss"]}
    )
    assert label_runs(rows)["label"].tolist() == ["standard", "adversarial (steps)", "adversarial (loss)"]
    assert label_runs(rows.iloc[:2])["label"].tolist() == ["standard", "adversarial"]


def test_labels_name_mixing_and_robustness_data_only_where_they_differ() -> None:
    def labels(*rows: dict[str, object]) -> list[str]:
        return label_runs(pd.DataFrame([{"strategy": "pareto", **row} for row in rows]))["label"].tolist()

    rule, final, mixing, robust = "omega/rule", "omega/final", "omega/mixing", "omega/robust"
    quarter = {rule: "fixed", final: 0.25}
    assert labels({**quarter, mixing: "steps"}, {rule: "dev", mixing: "steps"}) == [
        "fixed ω=0.25",
        "pareto dev",
    ]
    assert labels({**quarter, mixing: "steps"}, quarter, {rule: "mgda", mixing: "loss"}) == [
        "fixed ω=0.25 (steps)",
        "fixed ω=0.25 (loss)",
        "pareto mgda",
    ]
    assert labels({rule: "repeats", robust: "ood"}, {rule: "repeats", robust: "adversarial"}) == [
        "pareto (ood)",
        "pareto (adversarial)",
    ]
    hard = {"base_strategy": "hard-negative"}
    assert labels({**hard, mixing: "steps"}, {**hard, mixing: "loss"}, {mixing: "steps"}) == [
        "pareto (hard-negative, steps)",
        "pareto (hard-negative, loss)",
        "pareto",
    ]
    frame = pd.DataFrame({"strategy": ["pooled", "standard"], mixing: ["steps", None]})
    assert label_runs(frame)["label"].tolist() == ["pooled", "standard"]
    assert label_order("fixed ω=0.25 (steps)") == label_order("fixed ω=0.25")


def on_dev(frame: pd.DataFrame) -> pd.DataFrame:
    """The runs with dev metrics beside the test metrics, 10 % higher."""
    return frame.assign(**{f"dev/{name}": 1.1 * frame[name] for name in (X, Y)})


@pytest.mark.parametrize(
    ("x", "y", "steers"), [(X, Y, False), (f"dev/{X}", f"dev/{Y}", True), (f"dev/{X}", Y, False)]
)
def test_only_a_frontier_in_dev_metrics_steers(x: str, y: str, steers: bool) -> None:
    record = frontier(on_dev(runs([(2.0, 3.0), (1.0, 4.0), (4.0, 2.5)])), FrontierOptions(x=x, y=y))
    assert record["steers"] is steers


def test_dev_metrics_have_the_same_chance_level_and_a_rho() -> None:
    frame = on_dev(runs([(2.0, 3.0), (1.0, 4.0), (4.0, 2.5)], seeds=2))
    record = frontier(frame, FrontierOptions(x=f"dev/{X}", y=f"dev/{Y}"))
    assert record["hypervolume"]["reference"] == pytest.approx([math.log(257)] * 2)
    assert record["knee"]["x"] == pytest.approx(2.2)
    assert record["rho"] == pytest.approx(1.5)
    assert len(record["groups"]) == 3


def test_dev_command_says_what_it_is_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "runs.csv", tmp_path / "frontier.json"
    frame = runs([(2.0, 3.0), (1.0, 4.0), (4.0, 2.5)])
    on_dev(frame).to_csv(source, index=False)
    asked = ["frontier", "--table", str(source), "--out", str(out)]
    assert main([*asked, "--dev"]) == 0
    assert f"for training: strategy=pareto strategy.frontier={out}" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert (record["x"], record["y"], record["steers"]) == (f"dev/{X}", f"dev/{Y}", True)
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "for reporting, it is drawn in test metrics; for training: python -m sweeps frontier --dev" in said
    assert json.loads(out.read_text())["steers"] is False
    assert main([*asked, "--dev", "--x", X]) == 2
    assert f"--dev --x {X}: not a dev metric; say dev/{X}" in capsys.readouterr().err
    frame.to_csv(source, index=False)
    assert main([*asked, "--dev"]) == 2
    assert "runs with robust-dev domains measure it (data.robust_dev)" in capsys.readouterr().err


def test_in_one_table_one_rule_is_pareto_alone() -> None:
    rows = pd.DataFrame({"strategy": "pareto", "omega/rule": ["guarded", "repeats", "dro"]})
    assert label_runs(rows)["label"].tolist() == ["pareto", "pareto repeats", "pareto dro"]
    assert label_runs(rows[1:])["label"].tolist() == ["pareto", "pareto dro"]


def test_labels_state_what_a_rule_was_given_only_where_runs_of_a_cell_and_seed_differ() -> None:
    def labels(*rows: dict[str, Any]) -> list[str]:
        same = {"strategy": "pareto", "omega/rule": "dro", "model": "m", "seed": 1}
        return label_runs(pd.DataFrame([same | row for row in rows]))["label"].tolist()

    first = {"frac": 0.1, "omega/eta": 0.1, "omega/initial": 0.5}
    assert labels(first, first | {"omega/eta": 1.0}) == ["pareto dro (η=0.1)", "pareto dro (η=1)"]
    assert labels(first, first | {"omega/initial": 0.25}) == [
        "pareto dro (from 0.5)",
        "pareto dro (from 0.25)",
    ]
    # A rule that makes its start of the cell is one strategy.
    assert labels(first, first | {"frac": 1.0, "omega/initial": 0.25}) == ["pareto dro"] * 2
    assert labels(first, first | {"seed": 2, "omega/initial": 0.25}) == ["pareto dro"] * 2
    # A place that was given is told from one that dev losses chose.
    anchor = {"frac": 0.1, "omega/rule": "anchor", "omega/coefficient": 1.0}
    assert labels(anchor, anchor | {"omega/coefficient": 0.5, "omega/coefficient_given": 0.5}) == [
        "pareto anchor",
        "pareto anchor (c=0.5)",
    ]

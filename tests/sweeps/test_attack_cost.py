"""What an attack costs: by hand, in any unit and order, and as a law with planted exponents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import ConfigError
from sweeps.cli import main
from sweeps.diagnostics import FitRefusedError, TableError
from sweeps.fitting.attack_cost import cost_at, with_attack_cost

TARGETS = 10
RATES = (0.0, 0.2, 0.4, 0.8)


def attacked(rates: tuple[float, ...] = RATES, a_word: float = 6.0, **more: object) -> dict[str, object]:
    """A run whose attack asks for ``a_word`` texts a passage and word, after one for the gradient."""
    row: dict[str, object] = {"adv/targets": TARGETS, "cost/attack_flops": 5e9}
    for words, rate in enumerate(rates):
        row[f"adv/curve/top10_rate@{words}"] = rate
        row[f"adv/curve/rank_boost@{words}"] = 40 * rate
        row[f"adv/curve/queries@{words}"] = TARGETS * (1 + a_word * words)
    row["cost/attack_queries"] = row[f"adv/curve/queries@{len(rates) - 1}"]
    return {**row, **more}


def cost(metric: str, *rows: dict[str, object]) -> list[float]:
    found, left = with_attack_cost(pd.DataFrame(rows or [attacked()]), metric, drop=False)
    assert not left
    return found[metric].tolist()


def test_costs_by_hand() -> None:
    # .5 lies a quarter of the way from .4 at two words to .8 at three.
    assert cost("attack-cost/words@0.5") == pytest.approx([2.25])
    assert cost("attack-cost/words") == cost("attack-cost/words@top10_rate=0.5") == pytest.approx([2.25])
    assert cost("attack-cost/queries@0.5") == pytest.approx([1 + 6 * 2.25])
    # 10 targets × 19 texts took 5e9 FLOPs.
    assert cost("attack-cost/flops@0.5") == pytest.approx([14.5 * 5e9 / 190])
    assert cost("attack-cost/words@rank_boost=8") == pytest.approx([1.0])
    assert cost("attack-cost/words@0.8", attacked(), attacked(a_word=1.0)) == pytest.approx([3.0, 3.0])


def test_the_cost_of_another_attack_is_that_of_its_own_curve() -> None:
    other = {"adv/typo/targets": 5, "adv/typo/flops": 3e9, "adv/typo/queries": 100}
    for m, rate in enumerate((0.0, 0.3, 0.7)):
        other |= {f"adv/typo/curve/top10_rate@{m}": rate, f"adv/typo/curve/queries@{m}": 5.0 + 40 * m}
    poison = {f"adv/poison/curve/top10_rate@{m}": rate for m, rate in enumerate((0.0, 0.25, 0.75))}
    poison |= {f"adv/poison/curve/queries@{m}": 10.0 + 100 * m for m in range(3)}
    row = attacked(**other, **poison)
    assert cost("attack-cost/typo/budget@0.5", row) == pytest.approx([1.5])
    assert cost("attack-cost/typo/queries@0.5", row) == pytest.approx([(5 + 40 * 1.5) / 5])
    assert cost("attack-cost/typo/flops@0.5", row) == pytest.approx([13 * 3e9 / 100])
    # What is put into the corpus is for all queries: no target shares its cost.
    assert cost("attack-cost/poison/queries@0.5", row) == pytest.approx([160.0])
    assert cost("attack-cost/wsra/words@0.5", row) == cost("attack-cost/words@0.5", row)
    # One of two attacks: its own FLOPs, not those of both together.
    both = attacked(**{"adv/wsra/flops": 1e9, "adv/queries": 190.0})
    assert cost("attack-cost/flops@0.5", both) == pytest.approx([14.5 * 1e9 / 190])
    with pytest.raises(ConfigError, match="words is no unit; choose one of budget, queries, flops"):
        cost("attack-cost/typo/words@0.5", row)
    with pytest.raises(TableError, match=r"no column adv/paragraph/curve/top10_rate@0, …: runs record it"):
        cost("attack-cost/paragraph/budget@0.5", row)


curve = st.lists(st.floats(0, 1), min_size=2, max_size=9)


@given(
    rises=curve,
    steps=st.lists(st.floats(0, 50), min_size=9, max_size=9),
    levels=st.tuples(*[st.floats(0.01, 1)] * 2),
)
def test_a_higher_level_never_costs_less(
    rises: list[float], steps: list[float], levels: tuple[float, float]
) -> None:
    rates = np.sort(np.array(rises))
    spent = np.cumsum(steps[: len(rates)])
    low, high = (cost_at(rates, spent, level) for level in sorted(levels))
    if np.isnan(low):
        assert np.isnan(high)
    elif not np.isnan(high):
        # Each is a sum of three roundings of numbers up to the last of what is spent.
        assert low <= high + 8 * np.finfo(float).eps * spent[-1]
        assert high <= spent[-1] * (1 + 4 * np.finfo(float).eps)


def test_at_its_points_a_curve_is_met_exactly_and_between_them_it_is_a_line() -> None:
    rates, spent = np.array([0.0, 0.25, 0.75]), np.array([1.0, 5.0, 9.0])
    assert [cost_at(rates, spent, rate) for rate in (0.25, 0.5, 0.75)] == [5.0, 7.0, 9.0]
    assert np.isnan(cost_at(rates, spent, 0.76))
    assert cost_at(np.array([0.5, 0.6]), spent[:2], 0.5) == 0.0
    # The budget of another run was smaller: its points end earlier.
    assert cost_at(np.array([0.0, 0.5, np.nan]), np.array([1.0, 5.0, np.nan]), 0.5) == 5.0


def test_runs_that_never_reach_a_level_are_refused_or_left_out_by_name() -> None:
    table = pd.DataFrame(
        [
            attacked(run="weak"),
            attacked((0.0, 0.1, 0.2, 0.3), run="hard"),
            attacked((0.9, 0.9, 0.9, 0.9), run="open"),
            {"run": "bare"},
        ]
    )
    with pytest.raises(FitRefusedError, match=r"RATE_NOT_REACHED: .*run hard.*--drop-invalid") as failure:
        with_attack_cost(table, "attack-cost/words@0.5", drop=False)
    assert len(str(failure.value).splitlines()) == 1
    kept, left = with_attack_cost(table, "attack-cost/words@0.5", drop=True)
    assert kept["run"].tolist() == ["weak"]
    assert [rows.code for rows in left] == ["RATE_NOT_REACHED", "RATE_REACHED_UNATTACKED", "ROWS_LEFT_OUT"]
    assert [rows.rows for rows in left] == [["run hard"], ["run open"], ["run bare"]]
    assert left[0].finding.code == "RATE_NOT_REACHED"
    with pytest.raises(FitRefusedError, match=r"choose another level$"):
        with_attack_cost(table[1:2], "attack-cost/words@0.5", drop=True)


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("attack-cost/seconds@0.5", "seconds is no unit; choose one of words, queries, flops"),
        ("attack-cost/words@auc=0.5", "auc is no level; choose one of top10_rate, success_rate, rank_boost"),
        (
            "attack-cost/words@1.5",
            "top10_rate must be a number above 0 and at most 1; write attack-cost/UNIT",
        ),
        ("attack-cost/words@half", "must be a number above 0"),
        ("attack-cost/words@rank_boost=inf", "rank_boost must be a number above 0"),
    ],
)
def test_malformed_names_are_one_line(metric: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as failure:
        cost(metric)
    assert len(str(failure.value).splitlines()) == 1


def test_a_table_without_curves_says_where_they_come_from() -> None:
    with pytest.raises(
        TableError, match="no column adv/curve/top10_rate@0, …: runs record it with attack=wsra"
    ):
        cost("attack-cost/words@0.5", {"run": "bare"})


def test_the_command_recovers_planted_exponents_by_strategy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The texts that a word takes grow as N^α, so at one curve of rates the queries beyond the first do."""
    generator = np.random.default_rng(0)
    rows = []
    for strategy, alpha in (("standard", 0.3), ("adversarial", 0.5)):
        for size in np.geomspace(1e6, 1e8, 5):
            for seed in range(2):
                a_word = 2e3 * (size / 1e7) ** alpha * np.exp(0.01 * generator.standard_normal())
                row = attacked(a_word=a_word, strategy=strategy, seed=seed)
                row |= {"size/params_non_embedding": size, "size/train_pairs": 1000.0}
                rows.append({**row, "run": f"{strategy}-{size:.0f}-{seed}"})
    rows.append({**rows[0], **attacked((0.0, 0.1, 0.2, 0.3)), "run": "hard", "seed": 7})
    source, out = tmp_path / "runs.csv", tmp_path / "fit.json"
    pd.DataFrame(rows).to_csv(source, index=False)
    command = ["fit", "--table", str(source), "--metric", "attack-cost/queries@0.5", "--law", "model"]
    command += ["--grows", "--by", "strategy", "--bootstrap", "0", "--out", str(out)]
    assert main(command) == 2
    assert "RATE_NOT_REACHED" in capsys.readouterr().err
    assert main([*command, "--drop-invalid"]) == 0
    record = json.loads(out.read_text())
    assert [warning["code"] for warning in record["warnings"]] == ["RATE_NOT_REACHED"]
    for strategy, alpha in (("standard", 0.3), ("adversarial", 0.5)):
        low, high = record["groups"][strategy]["intervals"]["alpha"]
        assert low < alpha < high
        assert high - low < 0.05

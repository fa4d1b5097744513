"""Whether proxies stand for test metrics: rank correlations and regret by hand, and columns of traces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from retrieval.errors import ConfigError, DataError
from sweeps.cli import main
from sweeps.commands import options as shared
from sweeps.comparison.alignment import BOTH, TRAINING, VALIDATION, Alignment, alignment
from sweeps.report.proxies import proxies_section
from sweeps.report.written import Written
from sweeps.table.runs import collect_runs
from sweeps.table.traces import columns

EFF, OOD = "eff/contrastive_entropy", "ood/contrastive_entropy"
OMEGAS = {0.1: 1.0, 0.5: 0.8, 0.75: 1.3}
"""ω -> test entropy in-domain; out of domain it is one nat more."""


def runs() -> pd.DataFrame:
    """Two cells: dev metrics rank as tests do; training losses fall with ω wherever the test metric rises."""
    rows = []
    for frac, offset in ((0.1, 0.0), (0.5, -0.4)):
        for seed in (1, 2):
            for omega, entropy in OMEGAS.items():
                test = entropy + offset + 0.01 * seed
                rows.append({
                    "model": "m", "frac": frac, "seed": seed, "strategy": "pareto",
                    "omega/rule": "fixed", "omega/final": omega,
                    EFF: test, OOD: test + 1, f"dev/{EFF}": 2 * test, f"dev/{OOD}": 2 * test + 1,
                    "trace/loss_eff": 5 - test, "trace/loss_rob": test,
                    "eval/queries": 9, "eval/pool": 99,
                })  # fmt: skip
    return pd.DataFrame(rows)


def test_a_proxy_is_judged_by_ranks_and_by_what_its_choice_loses() -> None:
    found = {(row.proxy, row.target): row for row in alignment(runs()).rows}
    good, bad = found[VALIDATION, EFF], found[TRAINING, EFF]
    assert good.across == good.within.mean == pytest.approx(1)
    assert good.regret.mean == pytest.approx(0)
    assert bad.across == bad.within.mean == pytest.approx(-1)
    # The lowest training loss is that of ω = 0.75, which is 1.3 where the best has 0.8, in every cell.
    assert bad.regret.mean == pytest.approx(0.5)
    assert (bad.regret.low, bad.regret.high) == pytest.approx((0.5, 0.5))
    assert (bad.within.low, bad.regret.count, bad.configurations) == (-1, 2, 6)
    assert found[TRAINING, OOD].within.mean == pytest.approx(1)
    # The two training losses add up to the same everywhere: no choice can be made by them.
    assert (TRAINING, BOTH) not in found


def test_a_lucky_seed_of_another_strategy_is_no_regret() -> None:
    table = runs()
    table = table[table["frac"] == 0.1]
    lucky = (table["seed"] == 1) & (table["omega/final"] == 0.1)
    table.loc[lucky, [EFF, f"dev/{EFF}"]] = [0.7, 1.4]
    (row,) = [one for one in alignment(table).rows if (one.proxy, one.target) == (VALIDATION, EFF)]
    # ω = 0.5 is best over both seeds (0.815); where 0.1 is taken for seed 1, that is 0.11 better, not worse.
    assert row.regret.mean == pytest.approx((0.7 - 0.81 + 0) / 2)
    assert row.regret.low is None


def test_agreement_over_the_steps_is_that_of_runs_with_dev_losses() -> None:
    table = runs()
    table.loc[table["omega/final"] == 0.5, "trace/agree_eff"] = [0.9, 0.7, 0.4, 0.6]
    (row,) = alignment(table).training or []
    assert (row.label, row.target, row.agreement.count) == ("fixed ω=0.5", EFF, 4)
    assert row.agreement.mean == pytest.approx(0.65)
    # t with three degrees of freedom is 3.182, the standard deviation .2082.
    assert row.agreement.low == pytest.approx(0.65 - 3.182 * 0.2082 / 2, abs=1e-3)
    assert row.agreement.high == pytest.approx(0.65 + 3.182 * 0.2082 / 2, abs=1e-3)
    assert alignment(runs()).training is None


def lengths() -> pd.DataFrame:
    """Two strategies: the training loss always falls with the steps, test and dev metrics rise again."""
    rows = []
    for strategy, offset in (("standard", 0.0), ("pooled", -0.3)):
        for seed in (1, 2):
            for steps, entropy in {150: 1.2, 600: 1.0, 2400: 1.1}.items():
                test = entropy + offset + 0.01 * seed
                rows.append({
                    "model": "m", "frac": 0.1, "seed": seed, "strategy": strategy, "train/steps": steps,
                    EFF: test, OOD: test + 1, f"dev/{EFF}": 2 * test, f"dev/{OOD}": 2 * test + 1,
                    "trace/loss_eff": 100 / steps, "eval/queries": 9, "eval/pool": 99,
                })  # fmt: skip
    return pd.DataFrame(rows)


def test_a_choice_of_when_to_stop_is_judged_within_each_strategy() -> None:
    record = alignment(lengths(), along="train/steps")
    assert record.labels == ["train/steps=150", "train/steps=600", "train/steps=2400"]
    found = {(row.proxy, row.target): row for row in record.rows}
    loss, dev = found[TRAINING, EFF], found[VALIDATION, EFF]
    # Ranks 3, 2, 1 against 3, 1, 2; the last step is taken, which is .1 above the best.
    assert loss.within.mean == pytest.approx(0.5)
    assert loss.regret.mean == pytest.approx(0.1)
    assert (loss.within.count, loss.configurations) == (2, 6)
    assert (dev.within.mean, dev.regret.mean) == pytest.approx((1, 0))


def test_what_to_choose_among_is_checked() -> None:
    with pytest.raises(ConfigError, match=r"--along train/stepz: no such column; try train/steps"):
        alignment(lengths(), along="train/stepz")
    with pytest.raises(ConfigError, match="exclude each other"):
        alignment(lengths(), every=True, along="train/steps")
    with pytest.raises(ConfigError, match="--along seed: a cell has one seed already; try train/steps"):
        alignment(lengths(), along="seed")
    two = lengths()[lengths()["train/steps"] < 2000]
    with pytest.raises(DataError, match=r"no cell has 3 values of train/steps .* one strategy, model, data"):
        alignment(two, along="train/steps")


def test_runs_without_a_value_are_left_out_by_name() -> None:
    rows = lengths()
    more = rows.iloc[:1].assign(**{"train/steps": None, "seed": 3})
    record = alignment(pd.concat([rows, more], ignore_index=True), along="train/steps")
    assert record.rows == alignment(rows, along="train/steps").rows
    assert [warning.code for warning in record.warnings or []] == ["ROWS_LEFT_OUT"]
    with pytest.raises(DataError, match="no cell has 3 values"):
        alignment(rows.assign(**{"train/steps": None}), along="train/steps")


def test_too_few_strategies_are_refused() -> None:
    table = runs()
    with pytest.raises(DataError, match="no cell has 3 strategies"):
        alignment(table[table["omega/final"] < 0.7])


def test_the_command_writes_a_record_that_is_read_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs().to_csv(tmp_path / "runs.csv", index=False)
    out = tmp_path / "alignment.json"
    assert main(["alignment", "--table", str(tmp_path / "runs.csv"), "--out", str(out)]) == 0
    assert "training loss" in capsys.readouterr().out
    read = Alignment.from_json(json.loads(out.read_text()))
    assert read.source is not None
    assert read.labels == ["fixed ω=0.1", "fixed ω=0.5", "fixed ω=0.75"]


def test_the_report_shows_the_written_alignments(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    lengths().to_csv(path, index=False)
    (tmp_path / "records").mkdir()
    assert proxies_section(Written(tmp_path / "records", lengths())) is None
    for name, words in (("alignment", []), ("alignment-standard", ["--where", "strategy=standard"])):
        asked = ["alignment", "--table", str(path), "--along", "train/steps", *words]
        assert main([*asked, "--out", str(tmp_path / "records" / f"{name}.json")]) == 0
    section = proxies_section(Written(tmp_path / "records", shared.collect(Path(), path).frame))
    assert section is not None
    both, standard = section.tables
    assert [table.download for table in section.tables] == [
        *("tables/alignment.csv", "tables/alignment-standard.csv")
    ]
    assert both.headings[0] == "proxy, for a choice among train/steps 150, 600, 2400"
    assert standard.headings[0].endswith(" 2400 (strategy=standard)")
    # Across: products of ranks 4, squares 16 (the two losses of a length are tied) and 17.5.
    assert both.rows[0] == [TRAINING, EFF, "0.24", "0.5 [0.5, 0.5]", "0.1 [0.1, 0.1]", "2"]
    assert standard.rows[0] == [TRAINING, EFF, "0.50", "0.5 [–, –]", "0.1 [–, –]", "1"]


def steps() -> list[dict[str, float]]:
    """Twenty logged steps: ω swings around .4 in the first half, then jumps between .5 and .51."""
    omegas = [0.1, 0.7] * 5 + [0.5, 0.51] * 5
    lines = []
    for number, omega in enumerate(omegas, start=1):
        step = 10 * number
        line = {"step": step, "train/loss_eff": 3.0 - 0.01 * step, "train/omega": omega}
        if number % 4 == 0:
            line["val/eff_dev_loss"] = 2.0 - 0.005 * step
        lines.append(line)
    return lines


def test_columns_of_logged_steps() -> None:
    found = columns(steps())
    assert found["trace/loss_eff"] == pytest.approx(3 - 0.01 * (190 + 200) / 2)
    assert found["trace/dev_loss_eff"] == pytest.approx(1.0)
    assert found["trace/agree_eff"] == pytest.approx(1)
    assert found["trace/omega_mean"] == pytest.approx(0.505)
    assert found["trace/omega_spread"] == pytest.approx(0.005)
    # Step 100 is the last at which ω is further than .05 from .505.
    assert found["trace/omega_settled"] == pytest.approx(0.5)
    assert found["trace/omega_turns"] == pytest.approx(8 / 10)
    assert not {key for key in found if "rob" in key}
    assert columns([]) == {}


def test_a_steady_omega_has_settled_at_once_and_one_that_runs_away_never() -> None:
    steady = [{"step": k, "train/omega": 0.3} for k in range(1, 9)]
    assert columns(steady)["trace/omega_settled"] == 0
    away = [{"step": k, "train/omega": float(w)} for k, w in enumerate(np.linspace(0, 1, 20), start=1)]
    assert columns(away)["trace/omega_settled"] == 1
    assert columns(away)["trace/omega_turns"] == 0


def test_collected_runs_have_them_and_a_result_without_a_log_keeps_its_own(tmp_path: Path) -> None:
    for name, result in (("logged", {}), ("restored", {"trace/loss_eff": 7.0})):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "status.json").write_text('{"state": "done"}')
        (folder / "result.json").write_text(json.dumps({"seed": 1, **result}))
    (tmp_path / "logged" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in steps()))
    table = collect_runs(tmp_path).frame.set_index("run")
    assert table.loc["logged", "trace/loss_eff"] == pytest.approx(1.05)
    assert table.loc["restored", "trace/loss_eff"] == 7

"""Blank cells, columns of another meaning, numbers out of range: what a table may hold and what is said."""

from __future__ import annotations

import gzip
import json
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from law_tables import COLUMNS, law_table
from synthetic_runs import Sweep
from synthetic_runs import table as sweep_table

from sweeps.cli import main
from sweeps.comparison import CompareOptions, compare
from sweeps.diagnostics import FitRefusedError, TableError
from sweeps.fitting.fit import fit_law
from sweeps.fitting.groups import split
from sweeps.fitting.points import Columns
from sweeps.fitting.result import FitOptions, FitResult
from sweeps.frontier.trace import FrontierOptions, frontier
from sweeps.table.cells import clean, is_blank, numbers, row_names, texts_of, with_sound
from sweeps.table.files import read_table

QUICK = FitOptions(bootstrap=0, starts=50)
ARGUMENTS = ["--n", "N", "--d", "D", "--y", "y", "--bootstrap", "0", "--starts", "50"]


def plain(**more: object) -> pd.DataFrame:
    return law_table(seeds=2, seed_sd=0.01).assign(**more)


def fitted(table: pd.DataFrame, columns: Columns = COLUMNS, metric: str = "y") -> FitResult:
    return fit_law(table, metric=metric, columns=columns, options=QUICK, compare_forms=False)


def command(folder: Path, table: pd.DataFrame, *more: str) -> tuple[int, dict[str, object]]:
    path, out = folder / "runs.csv", folder / "fit.json"
    out.unlink(missing_ok=True)
    table.to_csv(path, index=False)
    status = main(["fit", "--table", str(path), *ARGUMENTS, "--out", str(out), *more])
    return status, json.loads(out.read_text()) if out.exists() else {}


CASES: list[tuple[str, list[str]]] = [
    ("fit-blank-seed/blankseed.csv", []),
    ("fit-blank-seed/blankrun.csv", []),
    ("fit-run-column/runcol.csv", []),
    ("fit-data-column/datacol.csv", ["--n", "model_size", "--d", "data"]),
]


@pytest.mark.parametrize(("name", "more"), CASES)
def test_labels_of_the_cases_do_not_change_their_law(
    shared: Path, tmp_path: Path, name: str, more: list[str]
) -> None:
    records = []
    for file, own in (("fit-numbers/clean.csv", []), (name, more)):
        if not (shared / "cases" / file).exists():
            pytest.skip(f"no case {file}")
        out = tmp_path / "fit.json"
        words = ["--n", "params", "--d", "tokens", "--y", "loss", "--law", "additive", "--bootstrap", "0"]
        table = ["--table", str(shared / "cases" / file), "--out", str(out)]
        assert main(["fit", *words, *own, *table]) == 0
        records.append(json.loads(out.read_text()))
    assert records[1]["n_runs"] == 50
    assert records[1]["n_configs"] == 25
    assert records[1]["params"] == pytest.approx(records[0]["params"], rel=1e-9)


@pytest.mark.parametrize(
    "blank", [None, " ", *(pytest.param(b, marks=pytest.mark.slow) for b in ("", "NA", "nan"))]
)
@pytest.mark.parametrize("column", ["seed", "run", "note", "data", "strategy", "eval/negatives"])
def test_blank_cells_of_other_columns_do_not_change_a_fit(column: str, blank: str | None) -> None:
    names = [f"r{index}" for index in range(60)]
    table = plain(run=names, note="x", data="pydocs", strategy="standard", **{"eval/negatives": 256})
    holed = table.astype({column: object})
    holed.loc[::3, column] = blank
    fit = fitted(holed)
    assert fit.params == pytest.approx(fitted(table).params)
    assert fit.n_runs == 60
    expected = {"seed": "SEED_UNKNOWN", "data": "SETTING_NOT_STATED", "strategy": "SETTING_NOT_STATED"}
    if column in expected:
        (said,) = [item.message for item in fit.warnings if item.code == expected[column]]
        assert "20" in said
        assert "r0, run r3, run r6 and 17 more" in said


@settings(deadline=None, max_examples=10)
@given(out=st.sets(st.integers(0, 59), min_size=1, max_size=8), column=st.sampled_from(["y", "N", "D"]))
def test_rows_dropped_for_a_blank_are_the_rows_that_stay_out(out: set[int], column: str) -> None:
    from sweeps.table.cells import only_positive

    table = plain()
    holed = table.copy()
    holed.loc[list(out), column] = np.nan
    with pytest.raises(TableError, match=f"row {min(out) + 1}: {column} = nan is not a positive number"):
        fitted(holed)
    kept, left = only_positive(holed, ["y", "N", "D"])
    assert fitted(kept).params == fitted(table.drop(index=list(out))).params
    assert left[0].rows == [f"row {row + 1}" for row in sorted(out)]


def test_invalid_sizes_are_dropped_counted_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = plain().astype(object)
    table.loc[[1, 2], "N"] = [None, "abc"]
    table.loc[[5], "D"] = -1
    status, _ = command(tmp_path, table)
    assert status == 2
    assert "row 2: N = nan is not a positive number and 1 more rows; mend it" in capsys.readouterr().err
    status, record = command(tmp_path, table, "--drop-invalid")
    assert status == 0
    assert record["n_runs"] == 57
    error = capsys.readouterr().err
    assert "left out: 2 rows without a positive N (row 2, row 3)" in error
    assert "left out: 1 row without a positive D (row 6)" in error
    codes = [item["code"] for item in record["warnings"]]  # type: ignore[attr-defined]
    assert codes.count("ROWS_LEFT_OUT") == 2


def test_row_numbers_are_those_of_the_file_whatever_was_selected(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = plain()
    table.loc[7, "y"] = np.nan
    assert command(tmp_path, table, "--where", "seed=1")[0] == 2
    assert "row 8: y = nan" in capsys.readouterr().err


def test_rows_in_no_group_are_named(tmp_path: Path) -> None:
    table = plain(opt=[("adam", "sgd", None)[index % 3] for index in range(60)])
    status, record = command(tmp_path, table, "--by", "opt")
    assert status == 0
    groups: dict[str, dict[str, int]] = record["groups"]  # type: ignore[assignment]
    assert {name: fit["n_runs"] for name, fit in groups.items()} == {"adam": 20, "sgd": 20}
    (said,) = record["warnings"]  # type: ignore[misc]
    assert said["code"] == "ROWS_LEFT_OUT"
    assert said["message"] == "left out: 20 rows without a value of opt (row 3, row 6, row 9 and 17 more)"


def test_a_setting_of_omega_leaves_no_strategy_without_a_group() -> None:
    table = sweep_table(Sweep(strategies=("standard", "pareto", "fixed-0.5")))
    groups, left = split(table, "omega/rule")
    assert left == []
    assert list(groups) == ["fixed", "repeats", "standard (no omega/rule)"]
    assert sum(map(len, groups.values())) == len(table)


@pytest.mark.parametrize("strategy", ["standard", None])
def test_every_row_is_in_a_group_or_named(strategy: str | None) -> None:
    table = sweep_table(Sweep(strategies=("standard", "pareto"))).astype({"strategy": object})
    table.loc[[0, 4], "strategy"] = strategy
    groups, left = split(table, "strategy")
    assert sum(map(len, groups.values())) + sum(len(rows.rows) for rows in left) == len(table)
    assert bool(left) == (strategy is None)


def test_data_may_count_pairs_and_is_else_a_collection() -> None:
    table = plain()
    renamed = table.rename(columns={"D": "data"})
    assert fitted(renamed, Columns("N", "data")).params == fitted(table).params
    beside = table.assign(data=table["D"] / 1e9)
    assert fitted(beside).params == fitted(table).params
    with pytest.raises(FitRefusedError, match=r"MIXED_COLLECTION.*--d data"):
        fitted(table.assign(data=table["seed"] + 1))
    with pytest.raises(FitRefusedError, match="MIXED_COLLECTION"):
        fitted(table.assign(data=["a", "b"] * 30))


def test_run_may_count_replicates_and_another_column_can_be_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = plain().rename(columns={"seed": "run"})
    fit = fitted(table)
    assert fit.codes.count("RUN_IS_REPLICATE") == 1
    assert fit.params == fitted(plain()).params
    mistaken = plain(run=["same" if index in (0, 9) else f"r{index}" for index in range(60)])
    with pytest.raises(TableError, match=r"run 'same' stands in the table twice.*--run-column"):
        fitted(mistaken)
    assert command(tmp_path, mistaken, "--run-column", "")[0] == 0
    assert command(tmp_path, mistaken, "--run-column", "name")[0] == 2
    assert "column 'name' is not in the table" in capsys.readouterr().err
    assert command(tmp_path, plain(), "--seed-column", "rep")[0] == 2
    assert command(tmp_path, plain(), "--seed-column", "y")[0] == 2
    assert "--seed-column y: is the metric, too" in capsys.readouterr().err


@pytest.mark.parametrize("seed", [None, 1])
@pytest.mark.parametrize("values", [(1e-3, 3e-4), ("adam", "sgd")])
def test_settings_are_no_seeds(seed: int | None, values: tuple[object, object]) -> None:
    table = plain(tuned=[values[index % 2] for index in range(60)])
    table = table.drop(columns="seed") if seed is None else table.assign(seed=seed)
    with pytest.raises(FitRefusedError, match=r"REPLICATES_UNKNOWN.*differ in tuned.*--seed-column tuned"):
        fitted(table)
    assert fitted(table, Columns("N", "D", "tuned")).n_configs == 30
    assert fitted(table[table["tuned"] == values[0]]).n_runs == 30
    run = FitOptions(bootstrap=0, starts=50, unit="run")
    fit_law(table, metric="y", columns=COLUMNS, options=run, compare_forms=False)


def test_learning_rates_of_each_size_are_settings_and_measurements_are_not() -> None:
    table = plain().drop(columns="seed")
    rates = table.assign(lr=[1 / n * factor for n, factor in zip(table["N"], [1, 2] * 30)])
    with pytest.raises(FitRefusedError, match="REPLICATES_UNKNOWN"):
        fitted(rates)
    measured = table.assign(other=np.random.default_rng(0).normal(size=60), rerun=[False, True] * 30)
    assert fitted(measured).n_runs == 60


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--predict", "0,1e9"], "--predict 0,1e9: expected two positive numbers"),
        (["--predict=-5,1e9"], "--predict -5,1e9: expected two positive numbers"),
        (["--predict", "nan,1e9"], "expected two positive numbers"),
        (["--predict", "1_0,1e9"], "expected two positive numbers"),
        (["--seed", "-1"], "'--seed'"),
        (["--chance", "-1"], "'--chance': -1.0 is not a positive number"),
        (["--chance", "nan"], "'--chance': nan is not a positive number"),
        (["--chance", "1e-9"], "--chance 1e-09 is no chance level"),
        (["--huber-scale", "0"], "'--huber-scale': 0.0 is not a positive number"),
        (["--level", "nan"], "'--level'"),
        (["--n", "D"], "--n and --d are both D"),
    ],
)
def test_numbers_of_the_command_line_are_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], reason: str
) -> None:
    assert command(tmp_path, plain(), *more)[0] == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("value", ["abc", "", "0", "-2"])
def test_held_out_rows_are_checked_like_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    table = plain(split=["target" if index == 4 else "fit" for index in range(60)]).astype(object)
    table.loc[4, "y"] = value
    assert command(tmp_path, table, "--held-out", "split=target")[0] == 2
    assert "row 5: y = " in capsys.readouterr().err
    status, record = command(tmp_path, table, "--held-out", "split=fit", "--drop-invalid")
    assert (status, record) == (2, {})  # the one row to fit is invalid


def test_frontier_and_comparison_name_what_they_leave_out() -> None:
    runs = sweep_table(Sweep(strategies=("standard", "pareto"), seeds=(1, 2))).astype({"frac": object})
    runs.loc[3, "eff/contrastive_entropy"] = np.nan
    runs.loc[[0, 5], "frac"] = None
    texts = [item.message for item in frontier(runs, FrontierOptions(replicates=0)).warnings]
    assert any("1 row without a value of eff/contrastive_entropy (run bert-tiny" in text for text in texts)
    assert any("2 rows without a value of frac, in no cell" in text for text in texts)
    record = compare(runs, "standard", "pareto", CompareOptions())
    assert [item.code for item in record.warnings].count("ROWS_LEFT_OUT") == 2
    runs["eff/contrastive_entropy"] = runs["eff/contrastive_entropy"].astype(object)
    runs.loc[4, "eff/contrastive_entropy"] = "abc"
    for analyse in (frontier, lambda table: compare(table, "standard", "pareto")):
        with pytest.raises(TableError, match="eff/contrastive_entropy = 'abc' is not a number"):
            analyse(runs)


def test_runs_without_a_seed_are_not_paired() -> None:
    runs = sweep_table(Sweep(models=("bert-tiny",), fractions=(1.0,), seeds=(1, 2, 3)))
    known = compare(runs, "standard", "pareto").cells[0].by["eff/contrastive_entropy"]
    blank = compare(runs.assign(seed=np.nan), "standard", "pareto").cells[0].by["eff/contrastive_entropy"]
    assert (known.method, blank.method) == ("paired", "unpaired")
    assert blank.difference == pytest.approx(known.difference)


@pytest.mark.parametrize("name", ["t.csv", "t.txt", "t.tsv", "t.csv.gz"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_the_one_that_the_header_has(tmp_path: Path, name: str, separator: str) -> None:
    text = plain(note="a, b; c").to_csv(index=False, sep=separator).encode("utf-8-sig")
    path = tmp_path / name
    path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    found = read_table(path)
    assert list(found) == [*plain(), "note"]
    assert found["y"].tolist() == plain()["y"].tolist()
    assert set(found["note"]) == {"a, b; c"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("N,D,y,y\n1,2,3,4\n", "column 'y' stands in the table twice"),
        ("N;D; y ;y\n1;2;3;4\n", "column ' ?y ?' stands in the table twice"),
        ("# by me\nN,D,y\n1,2,3\n", "rows have more cells than the first line has names"),
        ("N,D,y\n1,2,caf\xe9\n", "is not encoded in UTF-8 .*; save it as UTF-8"),
    ],
)
def test_tables_that_could_be_misread_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(TableError, match=words):
        read_table(path)


@pytest.mark.parametrize("value", ["2,15", "1,234.5", "1,234,567"])
def test_commas_in_numbers_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    table = plain().astype({"y": object})
    table.loc[3, "y"] = value
    assert command(tmp_path, table)[0] == 2
    said = f"row 4: y = '{value}' is not a positive number (write a decimal point, and no comma)"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.jsonl", "t.csv.gz", "t.tsv.gz", "t.jsonl.gz"])
def test_tables_of_every_kind_are_the_same(tmp_path: Path, name: str) -> None:
    table = plain(note=["x", None] * 30)
    text = (
        table.to_json(orient="records", lines=True, double_precision=15)
        if ".jsonl" in name
        else table.to_csv(index=False, sep="\t" if ".tsv" in name else ",")
    )
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    back = read_table(path)
    assert list(back) == list(table)
    assert back["y"].tolist() == pytest.approx(table["y"].tolist(), rel=1e-12)
    assert is_blank(back["note"]).tolist() == [False, True] * 30


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("t.csv.gz", b"no gzip", "cannot be read as a table"),
        ("t.csv.gz", gzip.compress(b"a,b\n1,2\n" * 999, mtime=0)[:-20], "cannot be read as a table"),
        ("t.gz", b"", "unknown kind of table '.gz'; use .csv"),
        ("t.jsonl", b'{"a": 1}\n{"a"\n', "t.jsonl:2: not valid JSON"),
        ("t.jsonl", b"[1]\n", "t.jsonl:1: not an object"),
        ("t.csv", b"a,b\n1,2,3\n4,5,6\n", "rows have more cells than the first line has names"),
        ("t.csv", b"a,a \n1,2\n", "column 'a' stands in the table twice"),
    ],
    ids=["no gzip", "cut gzip", "no kind", "cut line", "no object", "long lines", "a name twice"],
)
def test_malformed_files_are_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TableError, match=reason) as caught:
        read_table(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_cells_are_read_in_one_way() -> None:
    values = pd.Series(["1", 1.0, 1, " 1 ", None, "", "NA", "x", True, "1,000", np.inf], dtype=object)
    assert is_blank(values).tolist() == [False] * 4 + [True] * 3 + [False] * 4
    assert texts_of(values)[:5].tolist() == ["1", "1", "1", "1", ""]
    assert numbers(values)[:4].tolist() == [1.0] * 4
    assert np.isnan(numbers(values)[4:10]).all()
    assert np.isnan(numbers(pd.Series(pd.to_datetime(["2026-01-01"])))).all()
    mixed = clean(pd.DataFrame({" a ": ["1", 2, None], "code": ["007", "1", "2"], "b": ["x", 1, None]}))
    assert mixed["a"].tolist()[:2] == [1.0, 2.0]
    assert mixed["code"].tolist() == ["007", "1", "2"]
    assert mixed["b"].tolist()[:2] == ["x", "1"]
    assert row_names(pd.DataFrame({"run": ["a", "b", "b", None]})) == ["run a", "row 2", "row 3", "row 4"]


def test_a_wide_table_that_was_checked_takes_another_column_without_a_warning() -> None:
    wide = pd.DataFrame({f"c{number}": [1.0, np.nan] for number in range(150)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sound = with_sound(wide, map(str, wide))
        sound["label"] = "standard"
    pd.testing.assert_frame_equal(sound.drop(columns="label"), wide)

"""`python -m sweeps collect|fit|sensitivity|allocate`: output, exit status, errors of one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from law_tables import JOINT, law_table

from sweeps.cli import main
from sweeps.fitting.groups import FitFile

COLUMNS = ["--n", "N", "--d", "D", "--y", "y", "--bootstrap", "40", "--starts", "50"]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "runs.csv"
    law_table(seeds=2, seed_sd=0.01).to_csv(path, index=False)
    return path


def fit(table: Path, *extra: str) -> int:
    return main(["fit", "--table", str(table), *COLUMNS, "--out", str(table.parent / "fit.json"), *extra])


def write_runs(
    folder: Path, strategies: tuple[str, ...] = ("standard", "pareto"), worth: float = 2.0
) -> None:
    for number, strategy in enumerate(strategies):
        frame = law_table(seeds=2, seed_sd=0.01, random=number)
        for index, row in frame.iterrows():
            run = folder / f"{strategy}_{index}"
            run.mkdir(parents=True)
            entropy = float(row["y"]) / worth**number
            result = {
                "run": run.name,
                "strategy": strategy,
                "seed": int(row["seed"]),
                "size/params_non_embedding": row["N"],
                "size/train_pairs": row["D"],
                "eff/contrastive_entropy": entropy,
                "ood/contrastive_entropy": entropy * 1.1,
                "eff/ndcg@10": 1 - min(entropy, 20) / 25,
                "eval/negatives": 256,
                "size/convention": "non_embedding+projection",
            }
            (run / "status.json").write_text('{"state": "done"}')
            (run / "result.json").write_text(json.dumps(result))


def test_fit_writes_the_record_and_says_what_it_found(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(table) == 0
    record = json.loads((table.parent / "fit.json").read_text())
    assert record["params"]["alpha"] == pytest.approx(JOINT["alpha"], rel=0.1)
    assert record["options"]["bootstrap"] == 40
    assert record["bootstrap"]["requested"] == 40
    out = capsys.readouterr().out
    for text in ("alpha", "95 % profile", "hold-out of the largest N (5 configurations)", "ΔAICc"):
        assert text in out


def test_run_directories_are_the_default_source_and_groups_are_fitted_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path / "runs")
    out = tmp_path / "fit.json"
    arguments = ["--runs", str(tmp_path / "runs"), "--bootstrap", "20", "--starts", "50", "--out", str(out)]
    assert main(["fit", *arguments, "--by", "strategy"]) == 0
    fits = FitFile.load(out).groups
    assert set(fits) == {"standard", "pareto"}
    assert fits["pareto"].params["delta"] < fits["standard"].params["delta"]
    assert main(["fit", *arguments]) == 2
    assert (
        "MIXED_STRATEGY: the rows mix 2 strategies (pareto, standard); --by strategy"
        in capsys.readouterr().err
    )
    assert main(["fit", *arguments, "--where", "strategy=pareto"]) == 0


def test_a_group_that_cannot_be_fitted_does_not_stop_the_others(tmp_path: Path) -> None:
    write_runs(tmp_path / "runs")
    for run in (tmp_path / "runs").glob("pareto_*"):
        if run.name != "pareto_0":
            (run / "status.json").write_text('{"state": "running"}')
    out = tmp_path / "fit.json"
    arguments = ["--runs", str(tmp_path / "runs"), "--bootstrap", "0", "--out", str(out), "--by", "strategy"]
    assert main(["fit", *arguments]) == 0
    record = json.loads(out.read_text())
    assert list(record["groups"]) == ["standard"]
    assert "one configuration" in record["refused"]["pareto"]
    assert main(["fit", *arguments, "--strict"]) == 1


def test_held_out_rows_are_predicted_by_the_law_of_their_own_group(tmp_path: Path) -> None:
    first = law_table(seeds=2, seed_sd=0.01).assign(opt="a")
    second = first.assign(opt="b", y=first["y"] * 2)
    third = first[first["N"] == first["N"].max()].assign(opt="c")
    path = tmp_path / "runs.csv"
    pd.concat([first, second, third]).to_csv(path, index=False)
    held = f"N={first['N'].max():.10g}"
    assert fit(path, "--held-out", held, "--by", "opt") == 0
    file = FitFile.load(tmp_path / "fit.json")
    assert list(file.groups) == ["a", "b"]
    assert file.refused == {"c": "all its rows are held out, so no law of its own predicts them"}
    for name, own in (("a", first), ("b", second)):
        said = file.groups[name].predictions
        assert said is not None
        wanted = own[own["N"] == own["N"].max()]["y"]
        assert [one.observed for one in said] == pytest.approx(wanted.tolist())
        # The other group's law would be off by 50 or 100 %.
        assert max(abs(one.relative_error or 0.0) for one in said) < 0.1
    assert file.source is not None
    assert file.source.held_out == held
    assert file.source.is_of(pd.read_csv(path))


def test_held_out_rows_and_wanted_points_are_predicted(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fit(table, "--held-out", "N=8.6e7", "--predict", "1e9,5e5") == 0
    record = json.loads((table.parent / "fit.json").read_text())
    assert record["n_configs"] == 25
    assert len(record["predictions"]) == 11
    assert abs(record["predictions"][0]["relative_error"]) < 0.1
    assert record["predictions"][-1]["warnings"][0]["code"] == "EXTRAPOLATION_FACTOR"
    assert "predicted at N=1e+09, D=5e+05" in capsys.readouterr().out


def test_strict_exits_with_one_on_error_level_codes(table: Path) -> None:
    assert fit(table, "--strict") == 0
    frame = pd.read_csv(table)
    two = frame[frame["N"] < np.sort(frame["N"].unique())[2]]
    two.to_csv(table, index=False)
    assert fit(table) == 0
    assert fit(table, "--strict") == 1


def test_complement_fits_metrics_that_rise(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_runs(tmp_path / "runs", ("standard",))
    arguments = ["fit", "--runs", str(tmp_path / "runs"), "--metric", "eff/ndcg@10", "--bootstrap", "0"]
    out = tmp_path / "fit.json"
    assert main([*arguments, "--out", str(out)]) == 2
    assert "--complement" in capsys.readouterr().err
    assert main([*arguments, "--out", str(out), "--complement"]) == 0
    assert json.loads(out.read_text())["metric"] == "1 − eff/ndcg@10"


def test_invalid_rows_are_left_out_only_when_asked(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frame = pd.read_csv(table)
    frame.loc[[3, 4], "y"] = np.nan
    frame.to_csv(table, index=False)
    assert fit(table) == 2
    assert "row 4: y = nan is not a positive number and 1 more rows" in capsys.readouterr().err
    assert fit(table, "--drop-invalid") == 0
    assert "left out: 2 rows without a positive y" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--law", "kaplan"], "law=kaplan does not exist"),
        (["--y", "loss"], "column 'loss' is not in the table; it has N, D, seed, y"),
        (["--n", "params"], "column 'params' is not in the table"),
        (["--by", "strategy"], "column 'strategy' is not in the table"),
        (["--where", "N=1"], "--where N=1 leaves no rows"),
        (["--held-out", "split=x"], "column 'split' is not in the table"),
        (["--held-out", "N=1"], "--held-out N=1 matches no row"),
        (["--predict", "1e6"], "--predict 1e6: expected two positive numbers N,D"),
        (["--law", "joint-bounded"], "needs the chance level"),
        (["--wandb", "a/b"], "--table and --wandb exclude each other"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_two(
    table: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    assert fit(table, *arguments) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_collect_writes_a_table_and_names_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path / "runs", ("standard",))
    (tmp_path / "runs" / "standard_0" / "status.json").write_text(
        '{"state": "failed", "error": {"message": "x"}}'
    )
    out = tmp_path / "runs.parquet"
    assert main(["collect", "--runs", str(tmp_path / "runs"), "--out", str(out)]) == 0
    shown = capsys.readouterr()
    assert "59 done, 1 failed; wrote 59 rows" in shown.out
    assert "left out: standard_0: failed (error: x)" in shown.err
    assert len(pd.read_parquet(out)) == 59
    assert main(["collect", "--runs", str(tmp_path / "absent"), "--out", str(out)]) == 2


def test_sensitivity_and_allocation_run_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_runs(tmp_path / "runs")
    out = tmp_path / "sensitivity.json"
    arguments = ["--runs", str(tmp_path / "runs"), "--bootstrap", "30"]
    assert main(["sensitivity", *arguments, "--out", str(out)]) == 0
    assert set(json.loads(out.read_text())["groups"]) == {"standard", "pareto"}
    record = tmp_path / "fit.json"
    assert main(["fit", *arguments, "--where", "strategy=standard", "--out", str(record)]) == 0
    costs = ["--annotation", "0.6", "--training", "3.22e-8", "--inference", "1e-3"]
    assert main(["allocate", "--fit", str(record), "--budget", "20000", *costs]) == 0
    assert "budget 2e+04: N = " in capsys.readouterr().out
    assert main(["allocate", "--fit", str(record), "--budget", "20000", "--annotation", "0.6"]) == 2


def test_every_replicate_of_a_joint_fit_of_200_runs_is_kept(table: Path) -> None:
    sizes, pairs = np.geomspace(4e5, 8.6e7, 8), np.geomspace(5e3, 5e5, 5)
    frame = law_table(sizes=sizes, pairs=pairs, seeds=5, seed_sd=0.01, configuration_sd=0.02)
    frame.to_csv(table, index=False)
    assert fit(table, "--bootstrap", "100", "--starts", "96") == 0
    result = FitFile.load(table.parent / "fit.json").groups["all"]
    assert (result.n_runs, result.bootstrap.params.shape) == (200, (100, 5))


def test_help_answers_without_importing_numerics() -> None:
    code = "import sys; from sweeps.cli import main; main(['--help']); assert 'scipy' not in sys.modules"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "collect" in finished.stdout

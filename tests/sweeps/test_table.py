"""The runs table: run directories, W&B, files; what is left out is counted and named."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sweeps.diagnostics import TableError
from sweeps.table.files import read_table, write_table
from sweeps.table.runs import collect_runs, keep_where
from sweeps.table.wandb_rows import collect_wandb

RESULT = {
    "model": "bert-mini",
    "data": "pydocs",
    "frac": 0.5,
    "strategy": "standard",
    "seed": 1,
    "size/params_non_embedding": 3356416,
    "size/train_pairs": 14000,
    "eff/contrastive_entropy": 1.234567890123456,
    "eval/negatives": 256,
    "warnings": [{"code": "OMEGA_SATURATED", "message": "…"}, {"code": "A", "message": "…"}],
    "nested": {"b": 1, "a": [2]},
}


def write_run(folder: Path, name: str, state: str = "done", result: Any = None, **status: Any) -> Path:
    run = folder / name
    run.mkdir(parents=True)
    (run / "status.json").write_text(json.dumps({"state": state, "step": 3, "steps": 9, **status}))
    if state == "done":
        (run / "result.json").write_text(json.dumps({"run": name, **RESULT} if result is None else result))
    return run


def test_finished_runs_become_rows_and_the_others_are_named(tmp_path: Path) -> None:
    write_run(tmp_path, "b_done")
    write_run(tmp_path, "a_done")
    write_run(tmp_path, "c_running", "running")
    write_run(
        tmp_path, "d_failed", "failed", error={"type": "TrainingError", "message": "LOSS_NOT_FINITE: x\nmore"}
    )
    (write_run(tmp_path, "e_torn") / "result.json").write_text('{"run": ')
    (write_run(tmp_path, "f_missing") / "result.json").unlink()
    (tmp_path / "not_a_run").mkdir()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "file.txt").write_text("")
    (write_run(tmp_path, "g_copy") / "result.json").write_text(json.dumps({"run": "a_done", **RESULT}))
    collected = collect_runs(tmp_path)
    assert list(collected.frame["run"]) == ["a_done", "b_done"]
    assert [(run.run, run.state) for run in collected.skipped] == [
        ("a_done", "repeated"),
        ("c_running", "unfinished"),
        ("d_failed", "failed"),
        ("e_torn", "unreadable"),
        ("f_missing", "unreadable"),
    ]
    reasons = {run.run: run.reason for run in collected.skipped}
    assert reasons["d_failed"] == "TrainingError: LOSS_NOT_FINITE: x"
    assert reasons["c_running"] == "running at step 3 of 9"
    assert collected.counts == {"done": 2, "repeated": 1, "unfinished": 1, "failed": 1, "unreadable": 2}
    assert collected.summary() == "2 done, 1 repeated, 1 unfinished, 1 failed, 2 unreadable"


def test_warnings_become_codes_and_objects_json(tmp_path: Path) -> None:
    write_run(tmp_path, "a")
    row = collect_runs(tmp_path).frame.iloc[0]
    assert row["warnings"] == "A OMEGA_SATURATED"
    assert json.loads(row["nested"]) == RESULT["nested"]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_tables_round_trip_at_full_precision(tmp_path: Path, suffix: str) -> None:
    write_run(tmp_path / "runs", "a")
    write_run(tmp_path / "runs", "b", result={"run": "b", **RESULT, "omega/final": 0.25, "data": 3})
    frame = collect_runs(tmp_path / "runs").frame
    path = tmp_path / "out" / f"runs{suffix}"
    write_table(frame, path)
    back = read_table(path)
    assert list(back.columns) == list(frame.columns)
    assert back["eff/contrastive_entropy"].tolist() == frame["eff/contrastive_entropy"].tolist()
    assert back["omega/final"].isna().tolist() == [True, False]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_text("no parquet")
    (tmp_path / "empty.csv").write_text("a,b\n")
    (tmp_path / "nothing.csv").write_text("")
    for name, reason in [
        ("absent.csv", "no such file"),
        ("broken.parquet", "cannot be read as a table"),
        ("empty.csv", "has no rows"),
        ("nothing.csv", "cannot be read as a table"),
        ("runs.xlsx", "unknown kind of table '.xlsx'"),
    ]:
        with pytest.raises(TableError, match=reason) as caught:
            read_table(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(TableError, match="unknown kind of table"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "out.json")
    with pytest.raises(TableError, match="does not exist"):
        collect_runs(tmp_path / "absent")


def test_conditions_compare_numbers_as_numbers() -> None:
    frame = pd.DataFrame({"frac": [0.1, 0.5, 1.0], "strategy": ["standard", "pareto", "standard"]})
    assert keep_where(frame, ["frac=1"])["frac"].tolist() == [1.0]
    assert keep_where(frame, ["frac=0.10,1", "strategy=standard"])["frac"].tolist() == [0.1, 1.0]
    with pytest.raises(TableError, match=r"strategy has the values standard, pareto"):
        keep_where(frame, ["strategy=other"])
    with pytest.raises(TableError, match="expected COLUMN=VALUE"):
        keep_where(frame, ["strategy"])


def test_every_run_directory_is_collected(tmp_path: Path) -> None:
    for index in range(300):
        run = tmp_path / f"run{index:05d}"
        run.mkdir()
        (run / "status.json").write_text('{"state": "done"}')
        (run / "result.json").write_text(json.dumps({"run": run.name, **RESULT, "seed": index}))
    assert sorted(collect_runs(tmp_path).frame["seed"]) == list(range(300))


class Api:
    """What the W&B client offers: an iterable that fetches pages."""

    def __init__(self, runs: list[Any], error: Exception | None = None) -> None:
        self.stored, self.error, self.asked = runs, error, []

    def runs(self, path: str, *, per_page: int, lazy: bool) -> Any:
        self.asked.append((path, per_page, lazy))
        for begin in range(0, len(self.stored), per_page):
            yield from self.stored[begin : begin + per_page]
        if self.error is not None:
            raise self.error


def wandb_run(name: str, state: str = "finished", **summary: Any) -> SimpleNamespace:
    return SimpleNamespace(id=name, name=name, state=state, summary_metrics=summary)


def test_wandb_runs_become_the_same_rows() -> None:
    api = Api(
        [wandb_run(f"r{index}", run=f"r{index}", _step=3, **RESULT) for index in range(450)]
        + [wandb_run("bad", "crashed"), wandb_run("busy", "running"), wandb_run("odd", loss=1.0)]
        + [wandb_run("r0", run="r0", **RESULT)]
    )
    collected = collect_wandb("me/project", api)
    assert api.asked == [("me/project", 200, False)]
    assert len(collected.frame) == 450
    assert "_step" not in collected.frame
    assert collected.counts == {"done": 450, "failed": 1, "unfinished": 1, "unreadable": 1, "repeated": 1}
    assert {run.run: run.state for run in collected.skipped}["odd"] == "unreadable"


def test_wandb_failures_are_one_line() -> None:
    with pytest.raises(TableError, match="expected ENTITY/PROJECT"):
        collect_wandb("project")
    with pytest.raises(
        TableError, match="W&B did not give the runs of a/b: Could not find project"
    ) as caught:
        collect_wandb("a/b", Api([], ValueError("Could not find project\nmore")))
    assert "\n" not in str(caught.value)


def test_wandb_without_a_key_says_so_and_never_asks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked for input"))
    with pytest.raises(TableError, match="set WANDB_API_KEY or run `wandb login`"):
        collect_wandb("me/project")

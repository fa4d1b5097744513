"""``sweeps status``, ``clean`` and ``retry`` on run directories in every state."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from retrieval import config as schema
from retrieval.data.sources import fingerprint
from retrieval.data.sources.synthetic import SyntheticConfig
from retrieval.errors import ConfigError
from retrieval.run.directory import RunDirectory
from retrieval.run.ownership import started
from sweeps.cli import main
from sweeps.commands.inventory import (
    CellStatus,
    counts,
    expected_runs,
    outlook,
    sweep_is_alive,
    take_inventory,
)
from sweeps.commands.retry import stored_config
from sweeps.launch import sweep as launch
from sweeps.launch.cells import Cell, SweepRecord
from sweeps.launch.display import error_line
from sweeps.launch.sweep import Composed, Options


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """One cell in each state: done, failed, stopped, running (in this process) and waiting."""
    folder = tmp_path / "runs"
    with RunDirectory(folder / "good").claim():
        RunDirectory(folder / "good").start(20)
        RunDirectory(folder / "good").finish({"eff/ndcg@10": 0.5})
    (folder / "good" / "checkpoints").mkdir()
    (folder / "good" / "checkpoints" / "last.ckpt").write_bytes(b"x" * 2**20)
    with contextlib.suppress(ValueError), RunDirectory(folder / "bad").claim():
        raise ValueError("first\nlast line")
    with contextlib.suppress(SystemExit), RunDirectory(folder / "halted").claim():
        RunDirectory(folder / "halted").start(20, 5)
        raise SystemExit(143)
    record = folder / ".sweeps" / "one" / "sweep.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps({"cells": [{"run": name} for name in ("good", "bad", "never")]}))
    (folder / "not-a-run").mkdir()
    return folder


def test_every_state_is_told_apart(runs: Path) -> None:
    with RunDirectory(runs / "live").claim():
        RunDirectory(runs / "live").start(20)
        RunDirectory(runs / "live").progress(10)
        with RunDirectory(runs / "live").metrics_log() as log:
            log.append(10, {"train/pairs_per_second": 123.4})
        cells = take_inventory(runs)
    assert [(cell.run, cell.state) for cell in cells] == [
        ("live", "running"),
        ("bad", "failed"),
        ("halted", "stopped"),
        ("never", "waiting"),
        ("good", "done"),
    ]
    live, bad, halted, _, good = cells
    assert (live.step, live.steps, live.pairs_per_second) == (10, 20, 123.4)
    assert live.seconds_left == pytest.approx(live.seconds)
    assert bad.error == "ValueError: last line"
    assert (halted.step, halted.steps) == (5, 20)
    assert good.seconds is not None
    assert counts(cells) == "5 expected: 1 done, 1 waiting, 1 stopped, 1 failed, 1 running"


def test_status_prints_table_and_counts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--runs", str(runs)]) == 0
    out = capsys.readouterr().out
    assert "ValueError: last line" in out
    assert "4 expected: 1 done, 1 waiting, 1 stopped, 1 failed" in out
    assert main(["status", "--runs", str(runs), "--limit", "1"]) == 0
    assert "and 3 more" in capsys.readouterr().out


def test_watch_ends_when_nothing_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--runs", str(runs), "--watch"]) == 0
    assert "4 expected" in capsys.readouterr().out


def test_status_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--runs", str(tmp_path / "absent")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main(["status", "--runs", str(tmp_path)]) == 0
    assert "0 expected" in capsys.readouterr().out


def test_markup_in_an_error_is_text(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    RunDirectory(runs / "bad").fail({"type": "Error", "message": "[/red] [bold]x[/bold]", "traceback": ""})
    assert main(["status", "--runs", str(runs)]) == 0
    assert "[/red] [bold]x[/bold]" in capsys.readouterr().out


def test_error_line_of_anything() -> None:
    assert error_line(None) == ""
    assert error_line({"type": "KilledError", "message": ""}) == "KilledError: "


@pytest.mark.slow
def test_ten_thousand_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(10_000):
        folder = tmp_path / f"cell-{number}"
        folder.mkdir()
        (folder / "status.json").write_text('{"state": "done", "step": 1, "steps": 1}')
    assert main(["status", "--runs", str(tmp_path)]) == 0
    assert "10000 expected: 10000 done" in capsys.readouterr().out


def test_clean_asks_and_keeps_what_is_not_finished(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (runs / "bad" / "checkpoints").mkdir()
    monkeypatch.setattr("typer.confirm", lambda question: False)
    assert main(["clean", "--runs", str(runs)]) == 0
    assert (runs / "good" / "checkpoints" / "last.ckpt").exists()
    assert main(["clean", "--runs", str(runs), "--yes"]) == 0
    assert "1 finished runs (1.0 MiB)" in capsys.readouterr().out
    assert not (runs / "good" / "checkpoints").exists()
    assert (runs / "bad" / "checkpoints").exists()
    assert (runs / "good" / "result.json").exists()
    assert main(["clean", "--runs", str(runs)]) == 0


def failed_run(folder: Path) -> RunDirectory:
    config = schema.Config(
        model=schema.ModelConfig(init="scratch"),
        data=SyntheticConfig(),
        strategy=schema.StrategyConfig(),
        eval=schema.EvalConfig(),
        trainer=schema.TrainerConfig(threads=2),
        logger=schema.LoggerConfig(),
        runs=str(folder),
        cache=str(folder / ".cache"),
    )
    node = OmegaConf.structured(config)
    run = RunDirectory.of(node, fingerprint(node.data, Path(node.cache)))
    run.write_config(node)
    run.fail({"type": "ProcessKilled", "message": "killed by SIGKILL", "traceback": ""})
    return run


def test_retry_runs_failed_cells_with_their_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, broken = failed_run(tmp_path), tmp_path / "a-broken-run"
    broken.mkdir()
    (broken / "status.json").write_text('{"state": "failed", "step": "abc", "steps": "many"}')
    asked: list[Composed] = []

    def record(composed: list[Composed], options: Options, folder: Path) -> tuple[list[Cell], int]:
        asked.extend(composed)
        return [], 1

    monkeypatch.setattr(launch, "run_sweep", record)
    assert main(["retry", "--runs", str(tmp_path)]) == 1
    (cell,) = asked
    assert RunDirectory.of(cell.config, fingerprint(cell.config.data)).path == run.path
    assert cell.config.trainer.threads is None


def test_retry_refuses_a_changed_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = failed_run(tmp_path)
    config = OmegaConf.load(run.config)
    config.train.steps = 7
    OmegaConf.save(config, run.config)
    with pytest.raises(ConfigError, match="changed"):
        stored_config(run)
    run.config.unlink()
    assert main(["retry", "--runs", str(tmp_path)]) == 1
    assert "left out:" in (said := capsys.readouterr().err)
    assert "has no config.yaml" in said


def test_a_run_from_before_some_keys_can_be_tried_again(tmp_path: Path) -> None:
    run = failed_run(tmp_path)
    config = OmegaConf.load(run.config)
    del config.model["query_prompt"]
    OmegaConf.save(config, run.config)
    assert "query_prompt" in stored_config(run).model


def test_retry_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["retry", "--runs", str(tmp_path)]) == 0
    assert "no failed or stopped cell" in capsys.readouterr().out


def test_outlook_tells_pace_and_time_left(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = CellStatus(
        "a", "running", step=60, steps=100, first_step=20, seconds=40.0, pairs_per_second=150
    )
    done = CellStatus("b", "done", seconds=100.0)
    waiting = CellStatus("c", "waiting")
    assert running.seconds_left == 40
    assert outlook([running, done]) == "1 running at 150 pairs/s, about 0:40 left"
    assert outlook([running, waiting, done]) == "1 running at 150 pairs/s, about 2:20 left"
    assert outlook([running, waiting]) == "1 running at 150 pairs/s"
    assert outlook([done]) == ""


def test_watch_goes_on_while_a_sweep_lives(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = SweepRecord(runs / ".sweeps" / "two")
    record.write([], force=True)
    assert sweep_is_alive(runs)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            record.path.write_text(json.dumps({"cells": []}))

    monkeypatch.setattr("sweeps.commands.status.time.sleep", sleep)
    assert main(["status", "--runs", str(runs), "--watch"]) == 0
    assert len(looks) == 3


def test_two_sweeps_of_one_second_keep_both_records(tmp_path: Path) -> None:
    folder = tmp_path / ".sweeps" / "now"
    theirs = {"cells": [{"run": "theirs", "index": 0}], "host": socket.gethostname(), "pid": os.getppid()}
    folder.mkdir(parents=True)
    (folder / "sweep.json").write_text(json.dumps({**theirs, "process_started": started(os.getppid())}))
    SweepRecord(folder).write([], force=True)
    assert len(list(folder.glob("sweep*.json"))) == 2
    assert expected_runs(tmp_path) == {"theirs"}

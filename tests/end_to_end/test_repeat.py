"""A run directory is enough to repeat its run, and refused when it does not describe it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from retrieval.errors import ConfigError
from retrieval.pipeline import run_cell
from retrieval.run.directory import RunDirectory
from retrieval.run.funnel import exit_status
from retrieval.run_one import run_single
from retrieval.training.checkpoints import Checkpoints
from sweeps.cli import main
from sweeps.commands.rerun import differences
from tests.end_to_end.conftest import Compose
from tests.end_to_end.test_run import directory_of, stop_at


def test_a_run_repeats_from_its_directory(
    small: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small("strategy=pareto", "logger=wandb", "trainer.threads=1")
    os.environ["WANDB_MODE"] = "disabled"
    try:
        run_cell(config)
    finally:
        del os.environ["WANDB_MODE"]
    directory = directory_of(config)
    command = ["rerun", str(directory.path), "--out", str(tmp_path / "again")]
    assert main(command) == 0
    assert "0 of" in capsys.readouterr().out
    again = RunDirectory(tmp_path / "again" / directory.name)
    assert again.state() == "done"
    result = json.loads((directory.path / "result.json").read_text())
    result["eff/ndcg@10"] += 0.25
    (directory.path / "result.json").write_text(json.dumps(result))
    assert main(command) == 1
    assert "eff/ndcg@10" in capsys.readouterr().out


def test_a_finished_run_returns_its_result(small: Compose, capsys: pytest.CaptureFixture[str]) -> None:
    config = small("train.steps=2")
    run_single(config)
    first = capsys.readouterr()
    assert "eff/ndcg@10" in first.out
    run_single(config)
    again = capsys.readouterr()
    assert again.out == first.out
    assert "already done" in again.err


def test_what_counts_as_different() -> None:
    before = {"run": "a", "cost/train_seconds": 1.0, "eff/mrr@10": 0.5, "seed": 1}
    assert differences(before, {**before, "run": "b", "cost/train_seconds": 2.0}) == {}
    assert differences(before, {"run": "a", "eff/mrr@10": 0.6}) == {
        "eff/mrr@10": (0.5, 0.6),
        "seed": (1, None),
    }


@pytest.mark.parametrize("change", ["train.steps=13", "seed=9", "data.words=301", "syntax"])
@pytest.mark.parametrize("state", ["done", "failed"])
def test_a_directory_whose_configuration_was_changed_is_refused(
    small: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
    state: str,
) -> None:
    config = small("eval=none")
    with monkeypatch.context() as patch:
        if state == "failed":
            stop_at(patch, 5, lambda: (_ for _ in ()).throw(RuntimeError("power cut")))
            with pytest.raises(RuntimeError):
                run_cell(config)
        else:
            run_cell(config)
    directory = directory_of(config)
    if change == "syntax":
        directory.config.write_text("{")
    else:
        stored = OmegaConf.load(directory.config)
        key, _, value = change.partition("=")
        OmegaConf.update(stored, key, int(value))
        OmegaConf.save(stored, directory.config)
    with pytest.raises(ConfigError, match="was changed since the run was made") as refused:
        run_cell(config)
    assert (key if change != "syntax" else "syntax") in str(refused.value)
    assert exit_status(lambda: run_single(config)) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["rerun", str(directory.path), "--out", str(tmp_path / "again")]) == 2
    assert directory.state() == state
    directory.config.unlink()
    run_cell(config)


def test_moved_folders_and_other_machines_change_nothing(small: Compose, tmp_path: Path) -> None:
    config = small("eval=none")
    run_cell(config)
    other = small("eval=none", "trainer.threads=1", "trainer.log_every=5", "logger.tags=[x]")
    assert run_cell(other)["run"] == directory_of(config).name


def test_another_run_with_the_same_name_is_refused(small: Compose) -> None:
    config = small("eval=none")
    run_cell(config)
    directory = directory_of(config)
    status = json.loads((directory.path / "status.json").read_text())
    assert len(status["identity"]) == 64
    (directory.path / "status.json").write_text(json.dumps({**status, "identity": "0" * 64}))
    with pytest.raises(ConfigError, match="holds another run"):
        run_cell(config)


@pytest.mark.parametrize("signals", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_interrupt_finishes_the_step_and_two_stop_now(
    small: Compose, monkeypatch: pytest.MonkeyPatch, signals: int, number: signal.Signals
) -> None:
    config = small("eval=none", "trainer.checkpoint_every=4", "trainer.checkpoint_seconds=0")
    before = signal.getsignal(number)

    def interrupt() -> None:
        for _ in range(signals):
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        stop_at(patch, 7, interrupt)
        with pytest.raises(SystemExit) as stopped:
            run_cell(config)
    assert stopped.value.code == 128 + number
    directory = directory_of(config)
    assert directory.state() == "stopped"
    at_once = signals == 2 and number == signal.SIGINT  # a second SIGTERM changes nothing
    assert steps(directory) == (4 if at_once else 7)
    assert signal.getsignal(number) == before
    run_cell(config)
    assert directory.state() == "done"


def steps(directory: RunDirectory) -> Any:
    import torch

    path = Checkpoints(directory.checkpoints).newest()
    assert path is not None
    return torch.load(path, weights_only=True)["global_step"]


def test_the_handlers_of_a_stop_are_given_back(small: Compose) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run_cell(small("eval=none"))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before

"""Tasks that are watched and tasks that are stopped: what a cluster shows late, and whom it queues again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import composed, options

from retrieval.run.directory import RunDirectory
from sweeps.launch import submission
from sweeps.launch.cells import Cell, SweepRecord
from sweeps.launch.display import Display
from sweeps.launch.submission import Chunk, ChunkRunner, Submitted, attempts, watch
from sweeps.launch.sweep import INTERRUPTED, make_cells

pytest.importorskip("submitit")


class Ended:
    """A task of another machine that is over."""

    lag = 60.0

    def ended(self) -> bool:
        return True

    def reason(self) -> str:
        return "job 7 ended as COMPLETED"

    def cancel(self) -> None:
        raise AssertionError


class Hidden(RunDirectory):
    """A run whose status a network file system does not show until it was asked ``times`` times."""

    times = 4

    def refresh(self) -> None:
        self.times -= 1

    def status(self) -> dict[str, Any] | None:
        return super().status() if self.times <= 0 else None


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submission, "POLL_SECONDS", 0.01)


def hidden_cell(folder: Path) -> Cell:
    (cell,) = make_cells(composed(folder, ["a"]), options(), "sweep")
    cell.run = Hidden(cell.run.path)
    return cell


def finish(cell: Cell) -> None:
    run = RunDirectory(cell.run.path)
    with run.claim():
        run.finish({"run": "a"})


def test_a_run_that_is_seen_late_is_done(tmp_path: Path) -> None:
    cell = hidden_cell(tmp_path)
    part = Submitted(Ended(), [cell], attempts([cell]))
    finish(cell)
    watch([part], [cell], SweepRecord(tmp_path / "sweep"), Display())
    assert (cell.state, cell.result) == ("done", {"run": "a"})
    assert RunDirectory(cell.run.path).state() == "done"


def test_a_run_that_is_never_seen_has_failed_after_a_while(tmp_path: Path) -> None:
    cell = hidden_cell(tmp_path)
    task = Ended()
    task.lag = 0.2
    watch([Submitted(task, [cell], attempts([cell]))], [cell], SweepRecord(tmp_path / "sweep"), Display())
    assert cell.state == "failed"
    assert (RunDirectory(cell.run.path).status() or {})["error"]["message"] == "job 7 ended as COMPLETED"


def test_a_cell_does_not_fail_that_is_done(tmp_path: Path) -> None:
    cell = hidden_cell(tmp_path)
    assert isinstance(cell.run, Hidden)
    cell.run.times = 1
    finish(cell)
    cell.fail({"type": "TaskEnded", "message": "of no cell"})
    assert (cell.state, cell.error) == ("done", None)
    assert RunDirectory(cell.run.path).finished() == {"run": "a"}


# --- what a task does when it is stopped --------------------------------------------------------


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that tasks waited, which take none here; as a task of Slurm."""
    seconds: list[float] = []
    monkeypatch.setattr(submission.time, "sleep", seconds.append)
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    monkeypatch.setenv("SLURM_JOB_ID", "4242")
    return seconds


@pytest.fixture
def queued_again() -> Iterator[list[int]]:
    """Signals that submitit's handler of a preemption, which queues a task again, was called with."""
    received: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda number, _: received.append(number))
    yield received
    signal.signal(signal.SIGUSR2, before)


def stopped_by(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    number: signal.Signals,
    states: dict[str, str] | None = None,
) -> tuple[ChunkRunner, Chunk]:
    """A task whose cells are in ``states`` when ``number`` stops it; ``None``: it still reads them."""
    behaviours = list(states or {"a": ""})
    cells = make_cells(composed(folder, behaviours), options(), "sweep")
    for cell, state in zip(cells, (states or {}).values(), strict=False):
        cell.state = state  # type: ignore[assignment]

    def stop(*_: object, **__: object) -> tuple[list[Cell], int]:
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            if states is None:
                raise
        return cells, INTERRUPTED

    monkeypatch.setattr(submission, "run_sweep", stop)
    monkeypatch.chdir(folder)
    return ChunkRunner(options(), {}), Chunk.of(cells, folder / "sweep", 0)


@pytest.mark.parametrize("states", [None, {"a": "stopped", "b": "done"}])
def test_after_sigterm_alone_a_task_of_slurm_waits_to_be_killed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    slept: list[float],
    capsys: pytest.CaptureFixture[str],
    states: dict[str, str] | None,
) -> None:
    runner, chunk = stopped_by(monkeypatch, tmp_path, signal.SIGTERM, states)
    with pytest.raises(SystemExit) as left:
        runner(chunk)
    assert left.value.code == 143
    assert slept == [submission.KILL_SECONDS]
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("told to end by SIGTERM: waiting up to 600 s to be killed")


@pytest.mark.parametrize("missing", ["SLURM_JOB_ID", "SUBMITIT_EXECUTOR"])
def test_elsewhere_a_task_ends_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slept: list[float], missing: str
) -> None:
    monkeypatch.delenv(missing)
    runner, chunk = stopped_by(monkeypatch, tmp_path, signal.SIGTERM, {"a": "stopped"})
    with pytest.raises(SystemExit):
        runner(chunk)
    assert slept == []


def test_an_announced_preemption_queues_the_task_again_without_what_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slept: list[float], queued_again: list[int]
) -> None:
    states = {"a": "done", "b": "failed", "c": "stopped", "d": "waiting"}
    runner, chunk = stopped_by(monkeypatch, tmp_path, signal.SIGUSR2, states)
    assert len(runner.checkpoint(chunk).args[0].cells) == 4  # before anything ran
    with pytest.raises(SystemExit):
        runner(chunk)
    assert (queued_again, slept) == ([signal.SIGUSR2], [])
    again = runner.checkpoint(chunk)
    assert [index for index, _, _ in again.args[0].cells] == [0, 2, 3]
    assert again.args[0].folder == chunk.folder


def test_a_task_whose_cells_have_all_ended_is_not_queued_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slept: list[float], queued_again: list[int]
) -> None:
    runner, chunk = stopped_by(monkeypatch, tmp_path, signal.SIGUSR2, {"a": "done", "b": "failed"})
    assert runner(chunk) == 1
    assert (queued_again, slept) == ([], [])


def test_the_fork_server_outlives_the_announcement_of_a_preemption() -> None:
    code = (
        "import os, signal; from sweeps.launch.preload import shield; shield()\n"
        "for name in ('USR1', 'USR2', 'TERM', 'HUP'): os.kill(os.getpid(), getattr(signal, f'SIG{name}'))\n"
        "print('alive')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=dict(os.environ)
    )
    assert (done.returncode, done.stdout) == (0, "alive\n")

"""Cells as tasks: submitit's local processes, a generated Slurm job array, a Ray cluster of one machine."""

from __future__ import annotations

import os
import pickle
import re
import signal
import stat
import time
from pathlib import Path

import psutil
import pytest
from helpers import command, composed, options
from test_command import finish, running_steps, statuses, wait_for

from retrieval.errors import ConfigError
from retrieval.run.directory import RunDirectory
from sweeps.launch.cells import Cell, SweepRecord
from sweeps.launch.clusters import BatchOptions, run_batch
from sweeps.launch.display import Display
from sweeps.launch.submission import Chunk, ChunkRunner, cut, submitted, watch
from sweeps.launch.sweep import make_cells, run_sweep

pytest.importorskip("submitit")
LOCAL = ("hydra/launcher=submitit_local", "hydra.launcher.slots=2")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands, which write down what they are given; the folder with what they wrote."""
    programs = tmp_path / "bin"
    programs.mkdir()
    answers = {"sbatch": "echo Submitted batch job 4242", "sacct": "true", "srun": "true", "scontrol": "true"}
    for name, answer in answers.items():
        program = programs / name
        program.write_text(f'#!/bin/sh\necho "$@" >> {programs}/{name}.called\n{answer}\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    (programs / "sbatch").write_text(
        f'#!/bin/sh\ncp "$1" {programs}/script\nenv > {programs}/environment\necho Submitted batch job 4242\n'
    )
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    return programs


def waiting(folder: Path, behaviours: list[str]) -> tuple[list[Cell], SweepRecord]:
    record = SweepRecord(folder / "sweep")
    return make_cells(composed(folder, behaviours), options(), "sweep"), record


def test_slurm_gets_a_job_array(tmp_path: Path, slurm: Path) -> None:
    cells, record = waiting(tmp_path, ["a", "b", "c", "d", "e"])
    resources = {"timeout_min": 90, "partition": "gpu", "gpus_per_node": 2, "mem_gb": 16, "account": None}
    resources |= {"array_parallelism": 3, "signal_delay_s": 120, "setup": ["module load python"]}
    batch = BatchOptions("slurm", chunk=2, wait=False, resources=resources, environment={"A": "1"})
    with pytest.raises(SystemExit) as left:
        run_batch(cells, record, cells, options(), batch)
    assert left.value.code == 0
    script = (slurm / "script").read_text()
    for line in (
        "#SBATCH --array=0-2%3",
        "#SBATCH --time=90",
        "#SBATCH --partition=gpu",
        "#SBATCH --gpus-per-node=2",
        "#SBATCH --mem=16GB",
        "#SBATCH --open-mode=append",
        "module load python",
    ):
        assert line in script, script
    assert re.search(r"#SBATCH --signal=USR[12]@120", script)
    assert "account" not in script
    assert re.search(r"srun .*submitit.core._submit", script)
    assert "PYTHONPATH=" in (slurm / "environment").read_text()
    pickles = sorted((tmp_path / "sweep" / "jobs").glob("*.pkl"))
    chunks = [pickle.loads(path.read_bytes()).args[0] for path in pickles]
    assert sorted(index for chunk in chunks for index, _, _ in chunk.cells) == [0, 1, 2, 3, 4]
    assert {cell.state for cell in cells} == {"waiting"}


def test_without_slurm_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    cells, record = waiting(tmp_path, ["a"])
    with pytest.raises(ConfigError, match="slurm"):
        run_batch(cells, record, cells, options(), BatchOptions("slurm"))
    with pytest.raises(ConfigError, match="colour"):
        run_batch(cells, record, cells, options(), BatchOptions("local", resources={"colour": 1}))


def test_chunks_have_about_equal_work(tmp_path: Path) -> None:
    cells, _ = waiting(tmp_path, [str(n) for n in range(10)])
    parts = cut(cells, 4)
    assert sorted(len(part) for part in parts) == [3, 3, 4]
    assert sorted(cell.index for part in parts for cell in part) == list(range(10))


class _Task:
    def __init__(self, *, over: bool = True) -> None:
        self.over, self.cancelled = over, False

    def ended(self) -> bool:
        return self.over

    def reason(self) -> str:
        return "job 7 ended as NODE_FAIL"

    def cancel(self) -> None:
        self.cancelled = self.over = True


def test_a_lost_task_is_its_cells_failure_and_an_old_failure_is_not(tmp_path: Path) -> None:
    cells, record = waiting(tmp_path, ["a", "b"])
    for cell in cells:
        cell.run.fail({"type": "Old", "message": "of an earlier attempt"})
    part = submitted(_Task(), cells)
    with cells[0].run.claim():
        cells[0].run.finish({"run": "a"})
    watch([part], cells, record, Display())
    assert [cell.state for cell in cells] == ["done", "failed"]
    assert (cells[1].error or {})["message"] == "job 7 ended as NODE_FAIL"


def test_fail_fast_takes_the_other_tasks_back(tmp_path: Path) -> None:
    cells = make_cells(composed(tmp_path, ["a", "b"], fail_fast=True), options(), "sweep")
    going = _Task(over=False)
    parts = [submitted(_Task(), cells[:1]), submitted(going, cells[1:])]
    watch(parts, cells, SweepRecord(tmp_path / "sweep"), Display())
    assert going.cancelled
    assert [cell.state for cell in cells] == ["failed", "waiting"]


def test_a_task_runs_its_chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells, _ = waiting(tmp_path, ["a", "raise"])
    monkeypatch.chdir(tmp_path)
    runner = ChunkRunner(options(), {"FLAVOUR": "sour"})
    assert runner(Chunk.of(cells, tmp_path / "sweep", 0)) == 1
    assert [cell.run.state() for cell in cells] == ["done", "failed"]
    assert (cells[0].run.result() or {})["group"] == "sweep"
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.slow
def test_submitit_local(tmp_path: Path) -> None:
    sweep = command(tmp_path, *LOCAL, "model.pretrained=a,raise,kill", "seed=1,2", "hydra.launcher.chunk=3")
    out, err = finish(sweep, 200)
    assert sweep.returncode == 1, err
    assert out.count(" done ") == 2
    assert out.count("ValueError: deliberate") == 2
    assert out.count("killed by SIGKILL") == 2
    assert "Traceback" not in out + err
    again = command(tmp_path, *LOCAL, "model.pretrained=a", "seed=1,2")
    out, _ = finish(again, 200)
    assert again.returncode == 0
    assert out.count("done before") == 2


@pytest.mark.slow
def test_a_preempted_task_checkpoints_and_is_queued_again(tmp_path: Path) -> None:
    sweep = command(tmp_path, *LOCAL, "model.pretrained=train:40:8", "seed=1,2")
    wait_for(lambda: running_steps(tmp_path, cells=2, step=5), 120)
    (task,) = [
        process
        for process in psutil.Process(sweep.pid).children(recursive=True)
        if "submitit.core._submit" in process.cmdline()
    ]
    task.send_signal(signal.SIGUSR2)
    out, err = finish(sweep, 200)
    assert sweep.returncode == 0, err
    assert out.count(" done ") == 2
    checkpoints = [int(path.read_text()) for path in (tmp_path / "runs").glob("*/checkpoint")]
    assert checkpoints == [40, 40]
    logs = [path.read_text() for path in (tmp_path / "runs").glob("*/log.txt")]
    assert [log.count("hello from the cell") for log in logs] == [2, 2]


def test_a_chunk_that_was_called_off_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells, _ = waiting(tmp_path, ["a"])
    monkeypatch.chdir(tmp_path)
    chunk = Chunk.of(cells, tmp_path / "sweep", 0)
    chunk.call_off()
    assert ChunkRunner(options(), {})(chunk) == 130
    assert cells[0].run.state() == "absent"
    assert ChunkRunner(options(), {})(Chunk.of(cells, tmp_path / "sweep", 0)) == 0


INTERRUPTED = {
    "submitit": (LOCAL, False),
    "submitit-at-a-terminal": (LOCAL, True),
    "ray": (("hydra/launcher=ray", "hydra.launcher.address=local", "hydra.launcher.num_cpus=1"), True),
}


@pytest.mark.slow
@pytest.mark.parametrize("launcher", INTERRUPTED)
def test_an_interrupt_stops_the_tasks_with_checkpoints_and_the_same_command_goes_on(
    tmp_path: Path, launcher: str
) -> None:
    overrides, everyone = INTERRUPTED[launcher]
    if launcher == "ray":
        pytest.importorskip("ray")
    sweep = command(tmp_path, *overrides, "model.pretrained=train:200:100", "seed=1")
    found = wait_for(lambda: running_steps(tmp_path, cells=1, step=5), 200)
    family = psutil.Process(sweep.pid).children(recursive=True)
    # At a terminal every process of the sweep's group hears Ctrl-C.
    (os.killpg if everyone else os.kill)(sweep.pid, signal.SIGINT)
    out, err = finish(sweep, 100)
    assert sweep.returncode == 130, out + err
    assert "Traceback" not in out + err
    assert out.count(" stopped ") == 1, out
    (checkpoint,) = [int(path.read_text()) for path in (tmp_path / "runs").glob("*/checkpoint")]
    assert 5 <= checkpoint < 200
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive
    assert not psutil.pid_exists(found[0]["pid"])
    (run,) = (tmp_path / "runs").glob("*s1*")
    assert RunDirectory(run).state() == "stopped"  # its lock is free
    (run / "checkpoint").write_text("195")
    again = command(tmp_path, *overrides, "model.pretrained=train:200:100", "seed=1")
    out, err = finish(again, 200)
    assert again.returncode == 0, out + err
    assert [status["step"] for status in statuses(tmp_path)] == [200]
    assert statuses(tmp_path)[0]["first_step"] == 195


@pytest.mark.slow
def test_a_second_interrupt_stops_the_tasks_now(tmp_path: Path) -> None:
    sweep = command(tmp_path, *LOCAL, "model.pretrained=stubborn")
    pid = wait_for(lambda: [status["pid"] for status in statuses(tmp_path) if status.get("pid")], 120)[0]
    family = wait_for(lambda: psutil.Process(pid).children())
    os.killpg(sweep.pid, signal.SIGINT)
    wait_for(lambda: (tmp_path / "runs").glob("*/log.txt"))
    time.sleep(2)
    assert sweep.poll() is None
    os.killpg(sweep.pid, signal.SIGINT)
    finish(sweep, 30)
    assert sweep.returncode == 130
    psutil.wait_procs(family, timeout=5)
    assert not any(process.is_running() for process in family)


@pytest.mark.slow
def test_ray(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    overrides = ("hydra/launcher=ray", "hydra.launcher.address=local")
    sweep = command(tmp_path, *overrides, "model.pretrained=a,raise,kill")
    out, err = finish(sweep, 280)
    assert sweep.returncode == 1, err
    assert out.count(" done ") == 1
    assert "ValueError: deliberate" in out
    assert "killed by SIGKILL" in out
    assert "Traceback" not in out
    assert len({status["pid"] for status in statuses(tmp_path)}) == 3
    logs = [path.read_text() for path in (tmp_path / "runs").glob("*/log.txt")]
    assert [log.count("hello from the cell") for log in logs] == [1] * 3


@pytest.mark.slow
def test_no_ray_cluster_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    sweep = command(tmp_path, "hydra/launcher=ray", "hydra.launcher.address=127.0.0.1:1")
    _, err = finish(sweep, 250)
    assert sweep.returncode == 2
    assert (
        err.strip().splitlines()[-1].startswith("error: hydra.launcher.address=127.0.0.1:1: no Ray cluster")
    )


def test_run_sweep_elsewhere_ends_with_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def nowhere(some: object, record: SweepRecord, cells: object) -> bool:
        return False

    cells, status = run_sweep(composed(tmp_path, ["a"]), options(), tmp_path / "sweep", runner=nowhere)
    assert (status, cells[0].state) == (1, "waiting")
    assert "not started" in capsys.readouterr().out

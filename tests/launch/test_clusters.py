"""Cells as tasks: submitit's local processes, a generated Slurm job array, a Ray cluster of one machine."""

from __future__ import annotations

import os
import pickle
import re
import signal
import stat
import sys
import time
import types
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import command, composed, options
from test_command import finish, running_steps, statuses, wait_for

from retrieval.errors import ConfigError
from retrieval.run.directory import RunDirectory
from sweeps.launch import clusters
from sweeps.launch.cells import Cell, SweepRecord
from sweeps.launch.clusters import BatchOptions, BatchTask, RayOptions, run_batch, run_on_ray
from sweeps.launch.display import Display
from sweeps.launch.submission import Chunk, ChunkRunner, Submitted, Task, attempts, cut, watch
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


REFUSED = (
    "sbatch: error: invalid\nsbatch: error: Batch job submission failed: Invalid job array specification"
)


@pytest.mark.parametrize(
    ("most", "fix"),
    [
        (1000, "mend hydra.launcher.resources: partition, account, qos and what a task asks for"),
        (1, "raise hydra.launcher.chunk=1 to 2: Slurm takes 1 tasks by default"),
    ],
)
def test_what_slurm_refuses_is_one_line(
    tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch, most: int, fix: str
) -> None:
    (slurm / "sbatch").write_text(f"#!/bin/sh\necho '{REFUSED}' >&2\nexit 1\n")
    assert clusters.ARRAY == 1000
    monkeypatch.setattr(clusters, "ARRAY", most)
    cells, record = waiting(tmp_path, ["a", "b"])
    with pytest.raises(ConfigError) as raised:
        run_batch(cells, record, cells, options(), BatchOptions("slurm"))
    assert str(raised.value) == (
        "hydra/launcher=submitit_slurm: 2 tasks were refused (invalid; Batch job submission failed: "
        f"Invalid job array specification); {fix}"
    )


def test_batches_are_waited_for(tmp_path: Path) -> None:
    sweep = command(
        tmp_path, *LOCAL, "hydra.launcher.wait=false", "hydra.sweeper.max_batch_size=1", "seed=1,2"
    )
    _, err = finish(sweep, 100)
    assert sweep.returncode == 2, err
    (line,) = err.splitlines()
    assert line.startswith(
        "error: hydra.launcher.wait=false with hydra.sweeper.max_batch_size=1 would submit"
    )
    assert not list((tmp_path / "runs").glob("*s1*"))


def submit(folder: Path, **resources: Any) -> None:
    cells, record = waiting(folder, ["a", "b"])
    with pytest.raises(SystemExit):
        run_batch(cells, record, cells, options(), BatchOptions("slurm", wait=False, resources=resources))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (None, ["--cpus-per-task=6"]),
        ("--exact", ["--cpus-per-task=6", "--exact"]),
        (["--exact", "-c2"], ["--exact", "-c2"]),
    ],
)
def test_srun_is_given_the_cores(tmp_path: Path, slurm: Path, given: object, words: list[str]) -> None:
    submit(tmp_path, cpus_per_task=6, srun_args=given)
    (line,) = re.findall(r"^srun .*", (slurm / "script").read_text(), re.MULTILINE)
    before, _, _ = line.partition("-u -m submitit")
    assert [word for word in before.split() if word.startswith(("--exact", "-c", "--cpus"))] == words


def test_setup_may_be_one_line(tmp_path: Path, slurm: Path) -> None:
    submit(tmp_path, setup="module load python")
    assert "\n# setup\nmodule load python\n" in (slurm / "script").read_text()


@pytest.mark.parametrize("name", ["nodes", "tasks_per_node"])
def test_a_task_is_one_process(tmp_path: Path, slurm: Path, name: str) -> None:
    cells, record = waiting(tmp_path, ["a"])
    for cluster in ("slurm", "local"):
        batch = BatchOptions(cluster, resources={name: 2})
        with pytest.raises(ConfigError, match=rf"^hydra\.launcher\.resources\.{name}=2: valid is 1, since"):
            run_batch(cells, record, cells, options(), batch)


def test_tasks_do_not_inherit_the_job_that_submits_them(
    tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = {
        "SLURM_JOB_ID": "1",
        "SLURM_CPUS_PER_TASK": "1",
        "SLURM_MEM_PER_CPU": "9",
        "SBATCH_MEM_BIND": "no",
    }
    kept = {"SLURM_CONF": "/etc/here", "SBATCH_ACCOUNT": "mine", "SUBMITIT_PREEMPT_SIGNAL": "USR2"}
    for name, value in (hidden | kept).items():
        monkeypatch.setenv(name, value)
    submit(tmp_path)
    environment = (slurm / "environment").read_text().splitlines()
    assert not [line for line in environment if line.partition("=")[0] in hidden]
    assert {f"{name}={value}" for name, value in kept.items()} <= set(environment)
    assert {name: os.environ[name] for name in hidden} == hidden


def test_what_an_earlier_attempt_left_is_read_before_the_tasks_start(tmp_path: Path, slurm: Path) -> None:
    cells, record = waiting(tmp_path, ["a"])
    with cells[0].run.claim():
        pass
    earlier = attempts(cells)
    # A task that begins, and whose cell does, before sbatch returns.
    status = cells[0].run.path / "status.json"
    (slurm / "sbatch").write_text(
        f'#!/bin/sh\nsed -i \'s/"started": .*/"started": "now",/\' {status}\necho Submitted batch job 4242\n'
    )
    (part,) = clusters._submit([cells], record.path.parent, options(), BatchOptions("slurm"))
    assert attempts(cells) == {cells[0].run.name: "now"}
    assert part.before == earlier


def asked(slurm: Path, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sacct answer ``state``, and whoever waits to ask it again, ask."""
    (slurm / "sacct").write_text(f"#!/bin/sh\nprintf 'JobID|State|NodeList\n4242|{state}|n1\n'\n")
    monkeypatch.setattr(BatchTask, "_asked", float("-inf"))


@pytest.fixture
def batch_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BatchTask:
    from submitit.slurm import slurm as module

    watcher = module.SlurmInfoWatcher(delay_s=600)
    monkeypatch.setattr(module.SlurmJob, "watcher", watcher)
    monkeypatch.setattr(watcher, "update_if_long_enough", lambda mode: mode == "cache" or watcher.update())
    return BatchTask(module.SlurmJob(tmp_path, "4242"))


def test_a_suspended_task_has_not_ended(
    batch_task: BatchTask, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for state, ended in [("SUSPENDED", False), ("SUSPENDED", False), ("RUNNING", False), ("COMPLETED", True)]:
        asked(slurm, state, monkeypatch)
        batch_task.ended()
        assert batch_task.ended() is ended, state


def test_a_result_is_an_end_whatever_slurm_said_last(
    batch_task: BatchTask, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(slurm, "SUSPENDED", monkeypatch)
    assert not batch_task.ended()
    batch_task.job.paths.result_pickle.touch()
    assert batch_task.ended()


def test_a_preempted_task_has_ended_when_it_is_not_queued_again(
    batch_task: BatchTask, slurm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked(slurm, "PREEMPTED", monkeypatch)
    now = time.monotonic()
    assert not batch_task.ended()
    assert not batch_task.ended()
    monkeypatch.setattr(clusters.time, "monotonic", lambda: now + clusters.PREEMPTED_SECONDS + 10)
    assert batch_task.ended()
    asked(slurm, "PENDING", monkeypatch)
    assert not batch_task.ended()


@pytest.mark.parametrize(("asked_for", "seen"), [(None, "2,3"), (1, "2"), (0, "")])
def test_tasks_of_this_machine_see_its_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked_for: int | None, seen: str
) -> None:
    from submitit.local import local

    started: list[str] = []

    def start(**given: Any) -> Any:
        started.append(given["cuda_devices"])
        return types.SimpleNamespace(pid=1, poll=lambda: 0)

    monkeypatch.setattr(local, "start_controller", start)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    cells, record = waiting(tmp_path, ["a"])
    batch = BatchOptions("local", wait=False, resources={"timeout_min": 1, "gpus_per_node": asked_for})
    with pytest.raises(SystemExit):
        run_batch(cells, record, cells, options(), batch)
    assert started == [seen]


class _Ray(types.ModuleType):
    """Ray that writes down what it is given and does nothing."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.variables: dict[str, str] = {}

    def init(self, runtime_env: dict[str, Any], **_: object) -> None:
        self.variables = runtime_env["env_vars"]

    def remote(self, **_: object) -> Any:
        return lambda _: types.SimpleNamespace(remote=lambda *_: "reference")

    def wait(self, *_: object, **__: object) -> tuple[list[str], list[str]]:
        return ["reference"], []

    def get(self, *_: object, **__: object) -> int:
        return 0

    def shutdown(self) -> None:
        pass


@pytest.mark.parametrize(("gpus", "seen"), [(0, ""), (0.5, None)])
def test_ray_gets_variables_of_the_shell_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: float, seen: str | None
) -> None:
    ray = _Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    passed = {"HF_HOME": "/shared/hf", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "WANDB_PROJECT": "p"}
    left = (
        "WANDB_API_KEY",
        "WANDB_IDENTITY_TOKEN_FILE",
        "WANDB_X_EXTRA_HTTP_HEADERS",
        "WANDB_SERVICE",
        "HF_TOKEN",
    )
    for name, value in (passed | dict.fromkeys(left, "secret")).items():
        monkeypatch.setenv(name, value)
    cells, record = waiting(tmp_path, ["a"])
    run_on_ray(cells, record, cells, options(), RayOptions("local", num_gpus=gpus))
    assert passed.items() <= ray.variables.items()
    assert "secret" not in ray.variables.values()
    assert ray.variables.get("CUDA_VISIBLE_DEVICES") == seen
    assert ray.variables["PYTHONPATH"] == os.environ["PYTHONPATH"]


def submitted(task: Task, cells: list[Cell]) -> Submitted:
    return Submitted(task, cells, attempts(cells))


class _Task:
    lag = 0.0

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

"""The command itself with stub cells: exit statuses, signals, death of parent or child, two at once."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import command


def statuses(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in (folder / "runs").glob("*/status.json")]


def wait_for(condition: Callable[[], Any], seconds: float = 30) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.05)
    return value


def running_steps(folder: Path, cells: int, step: int) -> list[dict[str, Any]] | None:
    found = [status for status in statuses(folder) if status["step"] >= step]
    return found if len(found) == cells else None


def finish(process: subprocess.Popen[str], seconds: float = 60) -> tuple[str, str]:
    return process.communicate(timeout=seconds)


def test_sweep_ends_with_table_and_status(tmp_path: Path) -> None:
    sweep = command(tmp_path, "model.pretrained=a,raise")
    out, err = finish(sweep)
    assert sweep.returncode == 1
    assert "ValueError: deliberate" in out
    assert "Traceback" not in out + err
    assert "Error executing job" not in err
    again = command(tmp_path, "model.pretrained=a")
    out, err = finish(again)
    assert again.returncode == 0
    assert "done before" in out


@pytest.mark.slow
def test_finished_sweep_answers_at_once(tmp_path: Path) -> None:
    finish(command(tmp_path, "seed=1,2,3,4,5,6"))
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    out, _ = finish(command(tmp_path, "seed=1,2,3,4,5,6"))
    assert out.count("done before") == 6
    # Processor time, which a busy machine stretches less: importing torch alone takes more.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 3


@pytest.mark.parametrize(
    "signals", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]], ids=["ctrl-c", "terminated through make"]
)
def test_interrupt_lets_cells_write_their_checkpoints(tmp_path: Path, signals: list[signal.Signals]) -> None:
    sweep = command(tmp_path, "model.pretrained=train:1000:100", "seed=1,2,3")
    wait_for(lambda: running_steps(tmp_path, cells=2, step=5))
    for number in signals:
        sweep.send_signal(number)
    out, err = finish(sweep)
    assert sweep.returncode == 130
    assert out.count("stopped") == 2
    assert out.count("not started") == 1
    assert "Traceback" not in err
    checkpoints = [int(path.read_text()) for path in (tmp_path / "runs").glob("*/checkpoint")]
    assert len(checkpoints) == 2
    assert min(checkpoints) >= 5


@pytest.mark.slow
def test_interrupt_twice_stops_at_once_with_all_descendants(tmp_path: Path) -> None:
    sweep = command(tmp_path, "model.pretrained=stubborn")
    pid = wait_for(lambda: [status["pid"] for status in statuses(tmp_path) if status.get("pid")])[0]
    family = wait_for(lambda: psutil.Process(pid).children())
    sweep.send_signal(signal.SIGINT)
    time.sleep(1)
    assert sweep.poll() is None
    sweep.send_signal(signal.SIGINT)
    finish(sweep, 10)
    assert sweep.returncode == 130
    psutil.wait_procs(family, timeout=5)
    assert not any(process.is_running() for process in family)


@pytest.mark.slow
def test_killed_sweep_takes_its_cells_along_and_resumes(tmp_path: Path) -> None:
    overrides = ("model.pretrained=train:40:8", "seed=1,2")
    sweep = command(tmp_path, *overrides)
    found = wait_for(lambda: running_steps(tmp_path, cells=2, step=5))
    family = psutil.Process(sweep.pid).children(recursive=True)
    os.kill(sweep.pid, signal.SIGKILL)
    finish(sweep)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    assert not any(psutil.pid_exists(status["pid"]) for status in found)
    again = command(tmp_path, *overrides)
    out, _ = finish(again)
    assert again.returncode == 0
    assert out.count(" done ") == 2
    assert {status["step"] for status in statuses(tmp_path)} == {40}


@pytest.mark.slow
def test_killed_cell_is_a_failure_that_the_next_sweep_mends(tmp_path: Path) -> None:
    overrides = ("model.pretrained=train:40:6", "seed=1,2")
    sweep = command(tmp_path, *overrides)
    found = wait_for(lambda: running_steps(tmp_path, cells=2, step=5))
    os.kill(found[0]["pid"], signal.SIGKILL)
    out, _ = finish(sweep)
    assert sweep.returncode == 1
    assert out.count("killed by SIGKILL") == 1
    assert out.count(" done ") == 1
    again = command(tmp_path, *overrides)
    out, _ = finish(again)
    assert again.returncode == 0


@pytest.mark.slow
def test_two_sweeps_at_once_divide_the_cells(tmp_path: Path) -> None:
    overrides = ("model.pretrained=train:10:1", "seed=1,2,3,4,5,6")
    sweeps = [command(tmp_path, *overrides, f"hydra.sweep.dir={tmp_path / name}") for name in "ab"]
    for sweep in sweeps:
        finish(sweep)
        assert sweep.returncode == 0
    logs = list((tmp_path / "runs").glob("*/log.txt"))
    assert len(logs) == 6
    assert [log.read_text().count("hello from the cell") for log in logs] == [1] * 6
    assert len({status["pid"] for status in statuses(tmp_path)}) == 6


@pytest.mark.slow
def test_dead_sweeps_cell_is_taken_over_by_the_other(tmp_path: Path) -> None:
    overrides = ("model.pretrained=train:40:8", "hydra.launcher.slots=1")
    first = command(tmp_path, *overrides, f"hydra.sweep.dir={tmp_path / 'a'}")
    wait_for(lambda: running_steps(tmp_path, cells=1, step=5))
    second = command(tmp_path, *overrides, f"hydra.sweep.dir={tmp_path / 'b'}")
    time.sleep(3)
    os.kill(first.pid, signal.SIGKILL)
    finish(first)
    finish(second)
    assert second.returncode == 0
    (status,) = statuses(tmp_path)
    assert (status["state"], status["step"]) == ("done", 40)

"""Clocks that jump: a living run stays its owner's, a dead one is taken over."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from retrieval.run import directory as runs
from retrieval.run import ownership
from retrieval.run.directory import RunBusyError, RunDirectory
from retrieval.run.ownership import owner, started

JUMPS = [timedelta(hours=-9), timedelta(seconds=-100), timedelta(seconds=100), timedelta(days=400)]


def jump(monkeypatch: pytest.MonkeyPatch, by: timedelta) -> None:
    """Set the clock of this host."""
    real, boot = time.time, psutil.boot_time

    class Shifted(datetime):
        @classmethod
        def now(cls, tz=None):  # type: ignore[no-untyped-def, override]
            return datetime.now(tz) + by

    monkeypatch.setattr(time, "time", lambda: real() + by.total_seconds())
    monkeypatch.setattr(psutil, "boot_time", lambda: boot() + by.total_seconds())
    for module in (runs, ownership):
        monkeypatch.setattr(module, "datetime", Shifted)


@pytest.mark.parametrize("by", JUMPS, ids=str)
def test_a_run_of_this_host_is_its_owners_whatever_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: timedelta
) -> None:
    monkeypatch.setattr(runs, "HEARTBEAT_SECONDS", 0.02)
    run = RunDirectory(tmp_path / "cell")
    with run.claim():
        beat = (run.path / "status.json").stat().st_mtime_ns
        jump(monkeypatch, by)
        assert run.state() == "running"
        with pytest.raises(RunBusyError), RunDirectory(run.path).claim(timeout=0.05):
            pass
        while (run.path / "status.json").stat().st_mtime_ns == beat:  # the heart goes on
            time.sleep(0.01)
        assert run.state() == "running"
        run.finish({})
    assert run.state() == "done"


def foreign(folder: Path, written: timedelta, said: timedelta) -> RunDirectory:
    """A run of another host: ages of its status file and of the time in it."""
    run = RunDirectory(folder / "cell")
    run.path.mkdir()
    updated = (datetime.now(UTC) - said).isoformat(timespec="milliseconds")
    status = {"state": "running", "host": "elsewhere", "pid": 1, "updated": updated}
    (run.path / "status.json").write_text(json.dumps(status))
    then = time.time() - written.total_seconds()
    os.utime(run.path / "status.json", (then, then))
    return run


FRESH, LONG_AGO, AHEAD = timedelta(seconds=5), timedelta(hours=1), timedelta(hours=-1)


@pytest.mark.parametrize("jumped", [LONG_AGO, AHEAD])
def test_one_clock_alone_does_not_bury_a_run_of_another_host(tmp_path: Path, jumped: timedelta) -> None:
    for number, (written, said) in enumerate([(FRESH, jumped), (jumped, FRESH)]):
        (tmp_path / str(number)).mkdir()
        assert foreign(tmp_path / str(number), written, said).state() == "running"


@pytest.mark.parametrize("silent", [LONG_AGO, AHEAD])
def test_a_silent_run_is_taken_over_also_after_the_clock_was_set_back(
    tmp_path: Path, silent: timedelta
) -> None:
    run = foreign(tmp_path, silent, silent)
    assert run.state() == "stopped"
    with run.claim(timeout=0.1) as result:
        assert result is None
        assert run.state() == "running"


def test_a_process_is_told_from_another_with_its_number() -> None:
    status = owner()
    assert ownership.lives(status, Path("unused"))
    assert not ownership.lives({**status, "process_started": "another"}, Path("unused"))
    assert not ownership.lives({**status, "pid": None}, Path("unused"))
    assert started(2**22 + 1) is None

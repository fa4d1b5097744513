"""Which process owns a run, and whether it lives.

No clock that a person or a time server may set has the last word: on one host a process is known by its
place among all starts since boot, between hosts a heartbeat counts as silent only when two clocks agree.
"""

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

STALE_SECONDS = 90.0
"""A run of another host without a heartbeat for this long is taken over."""


def owner() -> dict[str, Any]:
    """This process, as ``status.json`` names it."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "process_started": started(os.getpid())}


NOBODY: dict[str, Any] = {"host": None, "pid": None, "process_started": None}


def is_here(status: Mapping[str, Any]) -> bool:
    """Whether ``status`` names a process of this host."""
    return bool(status.get("host") == socket.gethostname())


def lives(status: Mapping[str, Any], status_file: Path) -> bool:
    """Whether the process that ``status`` names lives; on other hosts judged by its heartbeat."""
    if status.get("pid") is None:
        return False
    if not is_here(status):
        return _silence(status, status_file) < STALE_SECONDS
    return status.get("process_started") == started(int(status["pid"]))


def started(pid: int) -> str | None:
    """When ``pid`` started, in a form that setting the clock does not change; ``None`` if it is gone."""
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # not Linux
            return f"{process.create_time():.0f}"
        # The name in parentheses may hold anything; the start is field 22, in ticks since boot.
        return f"{boot}:{stat.rpartition(')')[2].split()[19]}"
    return None


def _silence(status: Mapping[str, Any], status_file: Path) -> float:
    """Seconds since the last heartbeat: the least that the file server's and the hosts' clocks tell.

    Of one clock that jumps, forwards or backwards, the other knows nothing.
    """
    ages = [_age(status_file)]
    with contextlib.suppress(KeyError, ValueError, TypeError):
        ages.append((datetime.now(UTC) - datetime.fromisoformat(status["updated"])).total_seconds())
    return min(map(abs, ages))


def _age(path: Path) -> float:
    """Seconds since ``path`` was written, by the file server's clock alone."""
    beat = path.stat().st_mtime
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".clock.") as probe:
            return Path(probe.name).stat().st_mtime - beat
    except OSError:  # a folder one may only read
        return time.time() - beat

"""Imported once by the fork server: brings in the heavy modules that every cell then has for nothing.

No module named here may start threads (OpenMP's do not survive a fork) or touch CUDA.
"""

import contextlib
import gc
import importlib
import os
import signal
import sys

VARIABLE = "PARETRIEVE_PRELOAD"


def preload(modules: list[str]) -> None:
    """Import ``modules``; one that fails is named on standard error and left for the cell to report."""
    for name in modules:
        try:
            with contextlib.redirect_stdout(sys.stderr):
                importlib.import_module(name)
        except Exception as error:
            print(f"cannot preload {name}: {type(error).__name__}: {error}", file=sys.stderr)
    gc.collect()
    gc.freeze()  # keeps the collector off the shared pages, which would copy them into every cell


def shield() -> None:
    """Keep signals meant for the sweep away from the server: its end would take all cells with it."""
    with contextlib.suppress(PermissionError):  # already the leader of a group
        os.setsid()
    # A batch system announces a preemption to every process of a task; the cells inherit that it is ignored.
    for name in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(name, signal.SIG_IGN)


if VARIABLE in os.environ:  # in the fork server, and nowhere else
    shield()
    preload([name for name in os.environ[VARIABLE].split(",") if name])

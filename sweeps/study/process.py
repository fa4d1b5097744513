"""Starts the commands of a study, each as a process of its own; no shell reads their words."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from sweeps.launch.compose import CONF
from sweeps.launch.process import THREAD_VARIABLES

TRAIN = CONF.parent / "train.py"

_SIGNALLED = 128
"""Exit status of a process that a signal ended, less the number of the signal, as shells have it."""


def train(overrides: Sequence[str]) -> int:
    """Run ``train.py -m`` with its output on the terminal; the exit status."""
    return _watched([sys.executable, str(TRAIN), "-m", *overrides])


def sweeps(words: Sequence[str]) -> tuple[int, str]:
    """Run ``python -m sweeps`` quietly on one core; the exit status, and its last line on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "sweeps", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict.fromkeys(THREAD_VARIABLES, "1"),
    )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return done.returncode, lines[-1].removeprefix("error: ") if lines else ""


def _watched(command: Sequence[str]) -> int:
    """The exit status of a process that gets the signals which this one gets, and ends by itself."""
    sys.stdout.flush()
    with subprocess.Popen(command) as child:
        earlier = signal.signal(signal.SIGTERM, lambda *_: child.terminate())
        try:
            status = _waited(child)
        finally:
            signal.signal(signal.SIGTERM, earlier)
    return status if status >= 0 else _SIGNALLED - status


def _waited(child: subprocess.Popen[bytes]) -> int:
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            # The terminal sends Ctrl-C to the sweep, too, which writes its checkpoints and ends.
            continue

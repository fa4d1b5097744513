"""What asks a sweep to end: Ctrl-C, a termination signal (preemption), a closed terminal."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

ECHO_SECONDS = 1.0
"""A termination signal so soon after another is the same one: make passes it on, batch systems signal all."""


@contextlib.contextmanager
def on_request_to_end(handler: Callable[[], None]) -> Iterator[None]:
    """Call ``handler`` in the main thread for every request to end; elsewhere than there, do nothing.

    Under ``nohup`` a closed terminal stays ignored: the sweep is to outlive it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    terminated = float("-inf")

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal terminated
        before, now = terminated, time.monotonic()
        if number != signal.SIGINT:
            terminated = now
            if now - before <= ECHO_SECONDS:
                return
        handler()

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)
    found = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield
    finally:
        for number, old in found.items():
            signal.signal(number, old)

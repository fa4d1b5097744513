"""Wall-clock time of one kind of work among others."""

import time


class Clock:
    """Runs within ``with``."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Shown so far."""

    def __enter__(self) -> "Clock":
        self.seconds -= time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()

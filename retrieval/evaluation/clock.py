"""Wall-clock time of one kind of work among others."""

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class Clock:
    """Runs within ``with``, and stands still while :meth:`without` waits for an item."""

    def __init__(self) -> None:
        self.seconds = 0.0
        """Shown so far."""

    def __enter__(self) -> "Clock":
        self.seconds -= time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter()

    def without(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items; to make them takes no time of this clock. None is held when the next is asked for."""
        iterator = iter(items)
        while True:
            begun = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.seconds -= time.perf_counter() - begun
            yield item
            del item

"""How far a measurement is, part by part."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


class Steps:
    """Is told which parts a measurement has and which one begins; this one keeps it to itself."""

    def expect(self, names: Sequence[str]) -> None:
        """The parts that are to come."""

    def begin(self, name: str) -> None:
        """A part begins; the one before it has ended."""


class BarOfSteps(Steps):
    """A bar of parts; the bars of what is encoded or attacked stand below it."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._begun = 0

    def expect(self, names: Sequence[str]) -> None:
        """The length of the bar."""
        self._bar.reset(total=len(names))

    def begin(self, name: str) -> None:
        """The part's name beside the bar."""
        self._bar.set_description(name)
        self._bar.update(min(1, self._begun))
        self._begun += 1


@contextmanager
def shown_steps() -> Iterator[Steps]:
    """A bar on standard error while the measurement runs, where that is a terminal."""
    with tqdm(desc="measuring", unit="part", disable=None, leave=False) as bar:
        yield BarOfSteps(bar)

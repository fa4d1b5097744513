"""How far a measurement is, set by set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Steps:
    """Is told which parts a measurement has and which one begins; this one keeps it to itself."""

    def expect(self, names: Sequence[str]) -> None:
        """The parts that are to come."""

    def begin(self, name: str) -> None:
        """A part begins; the one before it has ended."""

    def close(self) -> None:
        """All parts have ended, or something else shows its progress from here on."""


class BarOfSteps(Steps):
    """A progress bar on standard error."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._task = bar.add_task("measuring", total=None)
        self._begun = 0

    def expect(self, names: Sequence[str]) -> None:
        """The length of the bar."""
        self._bar.update(self._task, total=len(names))

    def begin(self, name: str) -> None:
        """The part's name beside the bar."""
        self._bar.update(self._task, completed=self._begun, description=name)
        self._begun += 1

    def close(self) -> None:
        """The bar goes."""
        self._bar.stop()


@contextmanager
def shown_steps() -> Iterator[Steps]:
    """A bar while the measurement runs, where standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield BarOfSteps(bar)

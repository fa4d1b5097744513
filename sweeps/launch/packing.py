"""Which cells run side by side, with how many threads each, and in which order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeps.launch.need import Need

SEARCH_BUDGET = 200_000
"""Cells simulated at most while searching for a plan (a fraction of a second)."""


@dataclass(frozen=True)
class Plan:
    """The schedule of a sweep; cells are named by their position in the input."""

    order: tuple[int, ...]
    """Cells in the order of their start: longest first."""
    threads: tuple[int, ...]
    """CPU threads of each cell."""
    units: tuple[int, ...]
    """What each cell takes of ``capacity``: cores, or GPUs."""
    capacity: int
    """Cores, or GPUs, that can be taken at any time."""
    starts: tuple[float, ...]
    """Estimated seconds from the start of the sweep to that of each cell."""
    durations: tuple[float, ...]
    """Estimated seconds of each cell."""

    @property
    def seconds(self) -> float:
        """Estimated time of the whole."""
        return max(map(sum, zip(self.starts, self.durations, strict=True)), default=0.0)


@dataclass(frozen=True)
class Load:
    """A cell as the simulation sees it."""

    seconds: float
    units: int
    memory: int = 0


def plan_slots(
    works: Sequence[Need],
    cores: int,
    *,
    gpus: int = 0,
    memory: int | None = None,
    slots: int | None = None,
    threads: int | None = None,
) -> Plan:
    """Choose threads and order so that the sweep ends soonest.

    Without GPUs, the longest cells may get several threads and the others one; how many get how many is
    found by simulating each choice. Side by side wins while there are enough cells, because t threads are
    less than t times as fast; several threads win for the last and largest cells. With GPUs, a cell takes
    as many as it trains on (one, if not told) and an equal part of the cores.

    ``memory``: bytes that all running cells may use together, ``None`` = no limit; ``slots``: cells side by
    side, and ``threads``: those of every cell, if the user fixed it.
    """
    order = tuple(sorted(range(len(works)), key=lambda cell: (-works[cell].seconds, cell)))
    if gpus:
        capacity = min(gpus, slots or gpus)
        each = threads or max(1, cores // capacity)
        units = [work.devices for work in works]
        return _finish(works, order, [each] * len(works), units, capacity, memory, cpu=False)
    if slots or threads:
        each = threads or max(1, cores // (slots or 1))
        capacity = slots or max(1, cores // each)
        return _finish(works, order, [each] * len(works), [1] * len(works), capacity, memory)
    ones = [1] * len(works)
    best = _finish(works, order, ones, ones, cores, memory)
    for longest, level in _choices(len(works), cores):
        each_cell = [1] * len(works)
        for cell in order[:longest]:
            each_cell[cell] = level
        plan = _finish(works, order, each_cell, each_cell, cores, memory)
        if plan.seconds < best.seconds * 0.999:  # on a tie, fewer threads
            best = plan
    return best


def makespan(
    running: Iterable[Load], pending: Iterable[Load], capacity: int, memory: int | None = None
) -> float:
    """Seconds until all is done when ``pending`` starts in its order, each as soon as it fits.

    A cell that needs more than there is runs alone.
    """
    running, pending = list(running), list(pending)
    starts = timeline(running, pending, capacity, memory)
    ends = (start + task.seconds for start, task in zip(starts, pending, strict=True))
    return max((*ends, *(task.seconds for task in running)), default=0.0)


def timeline(
    running: Sequence[Load], pending: Sequence[Load], capacity: int, memory: int | None = None
) -> list[float]:
    """When each of ``pending`` starts, in seconds from now."""
    ends = [(task.seconds, task.units, task.memory) for task in running]
    heapq.heapify(ends)
    units, used = sum(end[1] for end in ends), sum(end[2] for end in ends)
    now, starts = 0.0, []
    for task in pending:
        while ends and not fits(task.units, task.memory, units, used, capacity, memory):
            now, freed, released = heapq.heappop(ends)
            units, used = units - freed, used - released
        heapq.heappush(ends, (now + task.seconds, task.units, task.memory))
        units, used = units + task.units, used + task.memory
        starts.append(now)
    return starts


def fits(units: int, memory: int, busy: int, used: int, capacity: int, limit: int | None) -> bool:
    """Whether a cell can start beside those running; with none running it always can."""
    if busy == 0:
        return True
    return busy + units <= capacity and (limit is None or used + memory <= limit)


def _choices(cells: int, cores: int) -> list[tuple[int, int]]:
    """Pairs (number of longest cells that get more than one thread, their threads)."""
    levels = sorted({max(1, cores // beside) for beside in range(1, max(1, min(cores, cells)) + 1)} - {1})
    if not levels or not cells:
        return []
    tries = min(cells, max(2, SEARCH_BUDGET // cells // len(levels)))
    counts = sorted({max(1, cells * step // tries) for step in range(1, tries + 1)})
    return [(count, level) for level in levels for count in counts]


def _finish(
    works: Sequence[Need],
    order: tuple[int, ...],
    threads: Sequence[int],
    units: Sequence[int],
    capacity: int,
    memory: int | None,
    cpu: bool = True,
) -> Plan:
    units = [min(unit, capacity) for unit in units]
    durations = [work.on(each) if cpu else work.seconds for work, each in zip(works, threads, strict=True)]
    loads = [Load(durations[cell], units[cell], works[cell].memory) for cell in order]
    begun = dict(zip(order, timeline([], loads, capacity, memory), strict=True))
    starts = tuple(begun[cell] for cell in range(len(works)))
    return Plan(order, tuple(threads), tuple(units), capacity, starts, tuple(durations))

"""Which cells run side by side, with how many threads each, in which order, and how long they still take."""

import heapq
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from sweeps.launch.cells import Cell
from sweeps.launch.gpus import Sharing
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
    """What each cell takes of ``capacity``: cores, or places on GPUs."""
    capacity: int
    """Cores, or places on GPUs, that can be taken at any time."""
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
    sharing: Sharing | None = None,
    memory: int | None = None,
    slots: int | None = None,
    threads: int | None = None,
) -> Plan:
    """Choose threads and order so that the sweep ends soonest.

    Without GPUs, the longest cells may get several threads and the others one; how many get how many is
    found by simulating each choice. Side by side wins while there are enough cells, because t threads are
    less than t times as fast; several threads win for the last and largest cells. On GPUs (``sharing``), a
    cell takes some places of one, or all places of as many as it trains on, and a like part of the cores.

    ``memory``: bytes that all running cells may use together, ``None`` = no limit; ``slots``: cells side by
    side, and ``threads``: those of every cell, if the user fixed it.
    """
    order = tuple(sorted(range(len(works)), key=lambda cell: (-works[cell].seconds, cell)))
    if sharing is not None:
        whole = any(work.devices > 1 for work in works)
        capacity = sharing.capacity if whole else min(sharing.capacity, slots or sharing.capacity)
        units = [min(sharing.units(work), capacity) for work in works]
        beside = [threads or max(1, cores * unit // capacity) for unit in units]
        return _finish(works, order, beside, units, capacity, memory, cpu=False)
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


BEFORE_EVALUATION = ("data", "proxies", "train")
"""Phases of :meth:`retrieval.run.directory.RunDirectory.progress` that come before the measuring."""

SMALLEST_SHARE = 0.02
"""A cell says something about the pace once it has trained this share."""


@dataclass(frozen=True)
class Progress:
    """What a running cell last reported."""

    step: int
    steps: int
    phase: str

    @property
    def trained(self) -> float:
        """Share of the training that is over, 0 to 1."""
        if self.phase not in BEFORE_EVALUATION:
            return 1.0
        return min(1.0, self.step / self.steps) if self.steps else 0.0


@dataclass
class Track:
    """Observations of one cell."""

    seen: float
    """Monotonic time of the first report."""
    before: float
    """Share trained at the first report."""
    measuring: float | None = None
    """Monotonic time at which the training was over."""


class Pace:
    """Corrects the estimates of :mod:`sweeps.launch.need` by what cells really take."""

    def __init__(self, plan: Plan, memory: int | None, gpu: bool) -> None:
        self._plan, self._memory, self._gpu = plan, memory, gpu
        self._tracks: dict[int, Track] = {}
        self._training: dict[int, tuple[int, float]] = {}
        self._measuring: dict[int, tuple[int, float]] = {}
        self.progress: dict[int, Progress] = {}

    def observe(self, cells: Sequence[Cell]) -> None:
        """Read the status of running cells and note when others ended."""
        now = time.monotonic()
        for cell in cells:
            if cell.state == "running":
                self._observe_running(cell, now)
            elif self.progress.pop(cell.index, None) is not None and cell.state == "done":
                track = self._tracks.get(cell.index)
                if track is not None and track.measuring is not None and cell.work.evaluate:
                    took = (now - track.measuring) * self._faster(cell)
                    self._measuring[cell.index] = (cell.work.parameters, took / cell.work.evaluate)

    def seconds_left(self, cells: Sequence[Cell]) -> float:
        """Time until the last cell ends: the schedule simulated with corrected estimates."""
        running = [self._task(cell) for cell in cells if cell.state == "running"]
        waiting = [
            self._task(cells[number]) for number in self._plan.order if cells[number].state == "waiting"
        ]
        return makespan(running, waiting, self._plan.capacity, self._memory)

    def _observe_running(self, cell: Cell, now: float) -> None:
        status = cell.run.status() or {}
        process = cell.child.process if cell.child else None
        if process is None or status.get("pid") != process.pid:
            return  # of an earlier attempt
        progress = Progress(
            int(status.get("step") or 0), int(status.get("steps") or 0), status.get("phase") or "data"
        )
        self.progress[cell.index] = progress
        if progress.phase != "train" and progress.phase in BEFORE_EVALUATION:
            return
        track = self._tracks.setdefault(cell.index, Track(now, progress.trained))
        if track.measuring is not None:
            return
        share = progress.trained - track.before
        if share >= SMALLEST_SHARE and cell.work.train:
            took = (now - track.seen) * self._faster(cell)
            self._training[cell.index] = (cell.work.parameters, took / (share * cell.work.train))
        if progress.trained == 1:
            track.measuring = now

    def _task(self, cell: Cell) -> Load:
        train = cell.work.train * correction(self._training, cell)
        evaluate = cell.work.evaluate * correction(self._measuring or self._training, cell)
        track, before = self._tracks.get(cell.index), cell.work.before
        if cell.state == "running" and track is not None:
            before = 0.0
            train *= 1 - self.progress[cell.index].trained
            if track.measuring is not None:
                # It is never over before it says so.
                passed = (time.monotonic() - track.measuring) * self._faster(cell)
                evaluate = max(evaluate - passed, 0.05 * evaluate)
        return Load((before + train + evaluate) / self._faster(cell), cell.units, cell.work.memory)

    def _faster(self, cell: Cell) -> float:
        """How many times faster than the estimate's one core the cell is expected to be."""
        return 1.0 if self._gpu else cell.work.faster(cell.threads)


def correction(ratios: Mapping[int, tuple[int, float]], cell: Cell) -> float:
    """Observed over estimated time: of this cell, of cells of its size, of any, or 1."""
    if cell.index in ratios:
        return ratios[cell.index][1]
    alike = [ratio for size, ratio in ratios.values() if size == cell.work.parameters]
    return median(alike or [ratio for _, ratio in ratios.values()] or [1.0])

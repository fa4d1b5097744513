"""What a sweep would be: its cells, what each costs, in which order they run and how long all takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from retrieval.data.splits import subset_size
from retrieval.run.resources import available_cores, available_gpus, available_memory
from sweeps.launch.cells import Cell
from sweeps.launch.compose import Composed
from sweeps.launch.contents import read_contents
from sweeps.launch.facts import facts, parameters
from sweeps.launch.machines import ASSUMED_MFU, FULL_WIDTH, Accelerator, Calibration
from sweeps.launch.need import estimate
from sweeps.launch.packing import Load, Plan, plan_slots, timeline
from sweeps.launch.probe import calibrate
from sweeps.launch.sweep import Options, make_cells
from sweeps.launch.workload import Contents, assumed_contents, workload

ENCODER_BYTES, CHECKPOINT_BYTES = 4, 12
"""A parameter in ``model/``, and in a checkpoint with both moments of AdamW; while a run goes on, in two."""

RECORD_BYTES = 800_000
"""Everything else in a run directory: scores of 5 × 1,000 queries, tokenizer, metrics, W&B (measured)."""


@dataclass(frozen=True)
class Hardware:
    """Where the cells would run."""

    device: Accelerator | None = None
    """``None`` = this machine."""
    count: int = 1
    """Accelerators."""
    slots: int | None = None
    """Cells side by side; ``None`` = chosen."""


@dataclass(frozen=True)
class PlannedCell:
    """One cell; seconds and bytes are estimates."""

    run: str
    overrides: list[str]
    state: str
    """``absent``, ``running``, ``stopped``, ``failed`` or ``done``."""
    model: str
    strategy: str
    frac: float
    seed: int
    params_non_embedding: int
    params_total: int
    train_pairs: int | None
    train_tokens: float
    train_flops: float
    evaluation_flops: float
    memory_bytes: int
    disk_bytes: int
    """Of the finished run's directory, checkpoint included."""
    threads: int | None
    seconds: float
    """Duration on its threads; of a cell that is done, what it would take."""
    start_seconds: float | None
    """From the start of the sweep; ``None`` = done already."""


@dataclass(frozen=True)
class SweepPlan:
    """All cells and what they add up to."""

    target: str
    assumptions: list[str]
    slots: int
    cells: list[PlannedCell]
    seconds: float
    """From the start of what is not done to its end."""
    critical_path: list[str]
    """Runs that decide the end, each waiting for the one before."""

    def totals(self) -> dict[str, Any]:
        """Counts and sums over the cells, and over those that are not done."""
        left = [cell for cell in self.cells if cell.state != "done"]
        return {
            "cells": len(self.cells),
            "states": dict(Counter(cell.state for cell in self.cells)),
            "train_tokens": sum(cell.train_tokens for cell in self.cells),
            "train_flops": sum(cell.train_flops for cell in self.cells),
            "train_flops_left": sum(cell.train_flops for cell in left),
            "cell_seconds": sum(cell.seconds for cell in self.cells),
            "cell_seconds_left": sum(cell.seconds for cell in left),
            "disk_bytes": sum(cell.disk_bytes for cell in self.cells),
            "disk_bytes_cleaned": sum(_disk(cell.params_total, ENCODER_BYTES) for cell in self.cells),
            "most_memory_bytes": max((cell.memory_bytes for cell in left), default=0),
            "seconds_left": self.seconds,
        }

    def record(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {**asdict(self), "totals": self.totals()}


def plan_sweep(composed: Sequence[Composed], target: Hardware, with_data: bool = True) -> SweepPlan:
    """Check every cell, then estimate and schedule them.

    Args:
        composed: The cells.
        target: Where they would run.
        with_data: Read the data (and prepare what is missing of them): D and lengths are then exact.

    Raises:
        ConfigError: A cell is not valid.
        DataError: Data cannot be read.
    """
    cells = list({cell.run.name: cell for cell in make_cells(composed, Options(), "plan")}.values())
    gpus = [] if target.device is not None else available_gpus()
    calibration = None if target.device is not None or gpus else _calibration(cells)
    contents = _contents(cells, with_data)
    for cell in cells:
        cell.work = estimate(cell.config, bool(gpus), contents[cell.data], calibration, target.device)
    waiting = [cell for cell in cells if not cell.ended]
    schedule = _slots(waiting, target, len(gpus))
    starts, durations = _times(waiting, schedule, bool(gpus) or target.device is not None)
    planned = [_describe(cell, contents[cell.data]) for cell in cells]
    by_name = {cell.run.name: place for place, cell in enumerate(waiting)}
    placed = [
        replace(
            cell,
            start_seconds=starts[by_name[cell.run]],
            seconds=durations[by_name[cell.run]],
            threads=None if target.device else schedule.threads[by_name[cell.run]],
        )
        if cell.run in by_name
        else cell
        for cell in planned
    ]
    return SweepPlan(
        target=_name(target, len(gpus)),
        assumptions=_assumptions(target, bool(gpus), calibration, contents, with_data),
        slots=schedule.capacity,
        cells=placed,
        seconds=schedule.seconds,
        critical_path=[waiting[place].run.name for place in critical(starts, durations)],
    )


def critical(starts: Sequence[float], durations: Sequence[float]) -> list[int]:
    """Places of the cells that decide the end: the last to end, the one it waited for, and so on."""
    if not starts:
        return []
    ends = [start + duration for start, duration in zip(starts, durations, strict=True)]
    place = max(range(len(ends)), key=ends.__getitem__)
    path = [place]
    while starts[place] > 0:
        before = [p for p in range(len(ends)) if math.isclose(ends[p], starts[place], rel_tol=1e-9)]
        place = max(before, key=durations.__getitem__)
        path.append(place)
    return path[::-1]


def _calibration(cells: Sequence[Cell]) -> Calibration:
    config = cells[0].config
    return calibrate(Path(config.cache), str(config.train.precision))


def _contents(cells: Sequence[Cell], with_data: bool) -> dict[str, Contents]:
    first = {cell.data: cell for cell in reversed(cells)}
    read = read_contents if with_data else assumed_contents
    return {key: read(cell.config) for key, cell in first.items()}


def _slots(waiting: Sequence[Cell], target: Hardware, gpus: int) -> Plan:
    works = [cell.work for cell in waiting]
    if not works:
        return Plan((), (), (), target.slots or target.count, 0.0)
    if target.device is not None:
        return plan_slots(works, 1, gpus=target.count, slots=target.slots)
    memory = available_memory()
    return plan_slots(works, available_cores(), gpus=gpus, memory=memory, slots=target.slots)


def _times(waiting: Sequence[Cell], plan: Plan, accelerated: bool) -> tuple[list[float], list[float]]:
    """Start and duration of each cell, in the order of ``waiting``."""
    durations = [
        cell.work.seconds if accelerated else cell.work.on(threads)
        for cell, threads in zip(waiting, plan.threads, strict=True)
    ]
    tasks = [Load(durations[n], plan.units[n], waiting[n].work.memory) for n in plan.order]
    memory = None if accelerated else available_memory()
    begun = dict(zip(plan.order, timeline([], tasks, plan.capacity, memory), strict=True))
    return [begun[n] for n in range(len(waiting))], durations


def _describe(cell: Cell, contents: Contents) -> PlannedCell:
    config = cell.config
    work, known = workload(config, contents), facts(config)
    sizes = parameters(config.model, contents.vocabulary)
    steps = int(config.train.steps)
    pairs = contents.pairs
    return PlannedCell(
        run=cell.run.name,
        overrides=list(cell.overrides),
        state="done" if cell.ended else cell.run.state(),
        model=known["model"],
        strategy=known["strategy"],
        frac=known["frac"],
        seed=int(config.seed),
        params_non_embedding=sizes["size/params_non_embedding"],
        params_total=sizes["size/params_total"],
        train_pairs=None if pairs is None else subset_size(pairs, known["frac"]),
        train_tokens=work.step_tokens * steps,
        train_flops=work.step_flops * steps,
        evaluation_flops=work.evaluation_flops,
        memory_bytes=cell.work.memory,
        disk_bytes=_disk(sizes["size/params_total"], ENCODER_BYTES + CHECKPOINT_BYTES),
        threads=None,
        seconds=cell.work.seconds,
        start_seconds=None,
    )


def _disk(parameters: int, each: int) -> int:
    return RECORD_BYTES + each * parameters


def _name(target: Hardware, gpus: int) -> str:
    if target.device is not None:
        return f"{target.count} × {target.device.name}"
    return f"this machine, {gpus} GPUs" if gpus else f"this machine, {available_cores()} CPU cores"


def _assumptions(
    target: Hardware,
    gpus: bool,
    calibration: Calibration | None,
    contents: dict[str, Contents],
    with_data: bool,
) -> list[str]:
    said = []
    if target.device is not None:
        device = target.device
        said.append(
            f"{device.name}: {device.peak:.3g} bf16 FLOP/s at {ASSUMED_MFU:.0%} MFU (less below a width of "
            f"{FULL_WIDTH}), {device.memory / 1e9:.0f} GB; not measured"
        )
    elif calibration is not None:
        factors = ", ".join(f"{point.hidden}: {point.train:.2f}" for point in calibration.points)
        said.append(f"times corrected by a probe of this machine (factor by width {factors})")
    elif gpus:
        said.append("times assume 5e13 FLOP/s a GPU; not measured")
    if not with_data:
        said.append("data not read: lengths are typical shares of their limits, D is not known")
    elif len(contents) > 1:
        said.append(f"{len(contents)} different data")
    return said

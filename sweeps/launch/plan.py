"""What a sweep would be: its cells, what each costs, in which order they run and how long all takes."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from omegaconf import DictConfig

from retrieval.data.splits import subset_size
from retrieval.run.resources import available_cores, available_gpus, available_memory
from sweeps.launch.calibration import Calibration
from sweeps.launch.cells import Cell
from sweeps.launch.compose import Composed
from sweeps.launch.contents import read_contents
from sweeps.launch.facts import facts, parameters
from sweeps.launch.gpus import Sharing
from sweeps.launch.need import ASSUMED_MFU, FULL_WIDTH, Accelerator, core_precision, estimate
from sweeps.launch.packing import plan_slots
from sweeps.launch.probe import calibrate, calibrate_gpu
from sweeps.launch.sweep import Options, make_cells
from sweeps.launch.workload import Contents, assumed_contents, workload

ENCODER_BYTES, CHECKPOINT_BYTES = 4, 12
"""A parameter in ``model/``, and in a checkpoint with both moments of AdamW; while a run goes on, in two."""

RECORD_BYTES = 800_000
"""Everything else in a run directory: scores of 5 × 1,000 queries, tokenizer, metrics, W&B (measured)."""


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


def plan_sweep(
    composed: Sequence[Composed],
    device: Accelerator | None = None,
    count: int = 1,
    slots: int | None = None,
    with_data: bool = True,
) -> SweepPlan:
    """Check every cell, then estimate and schedule them.

    ``device``: the accelerators and ``count`` their number, ``None`` = this machine; ``slots``: cells side by
    side, ``None`` = chosen; ``with_data``: read the data (and prepare what is missing of them): D and lengths
    are then exact.

    Raises ConfigError: a cell is not valid; DataError: data cannot be read.
    """
    cells = list({cell.run.name: cell for cell in make_cells(composed, Options(), "plan")}.values())
    here = device is None
    gpus = available_gpus() if here else []
    calibration = (calibrate_gpu if gpus else calibrate)(cells[0].config) if here else None
    read = read_contents if with_data else assumed_contents
    first = {cell.data: cell.config for cell in reversed(cells)}
    contents = {key: read(config) for key, config in first.items()}
    for cell in cells:
        cell.work = estimate(cell.estimated, bool(gpus), contents[cell.data], calibration, device)
    waiting = [cell for cell in cells if not cell.ended]
    schedule = plan_slots(
        [cell.work for cell in waiting],
        available_cores(),
        sharing=_sharing(gpus, calibration, slots) if here else Sharing(count),
        memory=available_memory() if here else None,
        slots=slots,
    )
    threads = schedule.threads if here else [None] * len(waiting)
    times = zip(threads, schedule.durations, schedule.starts, strict=True)
    placed = {cell.index: time for cell, time in zip(waiting, times, strict=True)}
    place = f"this machine, {len(gpus)} GPUs" if gpus else f"this machine, {available_cores()} CPU cores"
    return SweepPlan(
        target=place if device is None else f"{count} × {device.name}",
        assumptions=_assumptions(device, calibration, contents, with_data, None if gpus else cells[0].config),
        slots=schedule.capacity,
        cells=[
            _planned(cell, contents[cell.data], *placed.get(cell.index, (None, cell.work.seconds, None)))
            for cell in cells
        ],
        seconds=schedule.seconds,
        critical_path=[waiting[place].run.name for place in critical(schedule.starts, schedule.durations)],
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


def _planned(
    cell: Cell, contents: Contents, threads: int | None, seconds: float, start: float | None
) -> PlannedCell:
    config = cell.estimated
    work, known = workload(config, contents), facts(config)
    sizes = parameters(config.model, contents.vocabulary)
    steps = int(config.train.steps)
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
        train_pairs=None if contents.pairs is None else subset_size(contents.pairs, known["frac"]),
        train_tokens=work.step_tokens * steps,
        train_flops=work.step_flops * steps,
        evaluation_flops=work.evaluation_flops,
        memory_bytes=cell.work.memory,
        disk_bytes=_disk(sizes["size/params_total"], ENCODER_BYTES + CHECKPOINT_BYTES),
        threads=threads,
        seconds=seconds,
        start_seconds=start,
    )


def _disk(parameters: int, each: int) -> int:
    return RECORD_BYTES + each * parameters


def _sharing(gpus: Sequence[str], calibration: Calibration | None, slots: int | None) -> Sharing | None:
    memory = None if calibration is None else calibration.memory
    return Sharing.of(len(gpus), available_cores(), slots, memory) if gpus else None


def _assumptions(
    device: Accelerator | None,
    calibration: Calibration | None,
    contents: dict[str, Contents],
    with_data: bool,
    on_cores: DictConfig | None,
) -> list[str]:
    said = []
    if device is None and on_cores is not None:
        how = "the faster here" if on_cores.train.precision == "auto" else "as configured"
        said.append(f"precision {core_precision(on_cores)}, {how}")
    if device is not None:
        said.append(
            f"{device.name}: {device.peak:.3g} bf16 FLOP/s at {ASSUMED_MFU:.0%} MFU (less below a width of "
            f"{FULL_WIDTH}), {device.memory / 1e9:.0f} GB; not measured"
        )
    elif calibration is not None:
        factors = ", ".join(f"{point.hidden}: {point.train:.2f}" for point in calibration.points)
        said.append(f"times corrected by a probe of this machine (factor by width {factors})")
    if not with_data:
        said.append("data not read: texts of folders are counted by lines, else assumed; lengths are typical")
    elif len(contents) > 1:
        said.append(f"{len(contents)} different data")
    return said

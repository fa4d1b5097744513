"""A whole sweep on this machine: what is done already, what must be prepared, what remains to be run."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict

from retrieval.run.resources import available_cores, available_gpus, available_memory
from sweeps.launch.calibration import Calibration, known_calibration
from sweeps.launch.cells import Cell, SweepRecord
from sweeps.launch.compose import Composed
from sweeps.launch.display import Display, closing_table, duration
from sweeps.launch.gpus import Sharing
from sweeps.launch.need import estimate
from sweeps.launch.once import count_once
from sweeps.launch.packing import Plan, plan_slots
from sweeps.launch.process import Child, Job, start_server
from sweeps.launch.scheduler import Scheduler
from sweeps.launch.workload import Contents

INTERRUPTED = 130
"""Exit status after Ctrl-C or a termination signal, as a shell has it for SIGINT."""

PROBE_PATIENCE = 120.0
"""Seconds after which a probe (of a few seconds) is given up."""


@dataclass(frozen=True)
class Options:
    """How this machine is used; functions as ``module:name``, since other processes call them."""

    slots: int | None = None
    """Cells side by side; ``None``: as many as end the sweep soonest."""
    threads: int | None = None
    """CPU threads of each cell; ``None``: chosen with the slots."""
    open: str = "retrieval.opened:Run.open"
    """(configuration, fingerprint of its data where known) -> :class:`~retrieval.opened.Run`."""
    worker: str = "retrieval.pipeline:run_cell"
    """Configuration -> result."""
    prepare: str | None = "sweeps.launch.contents:prepare_and_read"
    """Called with one configuration of each distinct data before the first cell; ``None``: not at all.

    It may return their :class:`~sweeps.launch.workload.Contents`: cells are estimated by these from then on.
    """
    probe: str | None = "sweeps.launch.probe:calibrate"
    """Measures once how fast this machine's cores train; ``None``: speeds are assumed."""
    gpu_probe: str | None = "sweeps.launch.probe:calibrate_gpu"
    """The same of a GPU; ``None``: speeds are assumed, and each cell has a GPU of its own."""
    preload: Sequence[str] = (
        "torch",
        "pytorch_lightning",
        "transformers",
        "sentence_transformers",
        "retrieval.pipeline",
    )
    """Imported once by the server that the cells' processes are forked from."""


def run_sweep(
    composed: Sequence[Composed],
    options: Options,
    folder: Path,
    group: str | None = None,
    runner: Callable[[Sequence[Cell], SweepRecord, Sequence[Cell]], bool] | None = None,
) -> tuple[list[Cell], int]:
    """Run what is not done and print a table of all cells.

    ``folder``: where ``sweep.json`` goes; ``group``: W&B group, ``None`` = the name of ``folder``;
    ``runner``: runs cells somewhere else: (cells to run, record, all cells) -> whether it was interrupted.

    Returns the cells with their outcome, and the exit status: 0 all done, 1 some not, 130 interrupted.

    Raises ConfigError: a configuration is invalid; nothing has been started.
    """
    cells = make_cells(composed, options, group or folder.name)
    record = SweepRecord(folder)
    waiting = [cell for cell in cells if not cell.ended]
    interrupted = False
    if waiting:
        try:
            run = runner or partial(_run, options=options, extra=composed[0].environment)
            interrupted = run(waiting, record, cells)
        except KeyboardInterrupt:
            interrupted = True
    record.write(cells, force=True)
    closing_table(cells)
    if interrupted:
        return cells, INTERRUPTED
    return cells, int(any(cell.state != "done" for cell in cells))


def make_cells(composed: Sequence[Composed], options: Options, group: str) -> list[Cell]:
    """The cells of a sweep whose W&B group is ``group``; those done before have ended.

    Raises ConfigError: a configuration is invalid, or its data are not there.
    """
    opened = resolve_name(options.open)
    known: dict[str, str] = {}
    gpu = bool(available_gpus())
    cells = []
    for item in composed:
        key = data_key(item.config)
        run = opened(item.config, known.get(key))
        known[key] = run.fingerprint
        if "WANDB_RUN_GROUP" not in os.environ:
            _set(item.config, "logger.group", group)
        cell = Cell(item.index, item.overrides, item.config, run.directory, estimate(item.config, gpu), key)
        result = run.directory.finished()
        if result is not None:
            cell.end("done", result=result, skipped=True)
        cells.append(cell)
    count_once(cells)
    for cell in cells:
        if cell.estimated is not cell.config:
            cell.work = estimate(cell.estimated, gpu)
    return cells


def _run(
    waiting: Sequence[Cell],
    record: SweepRecord,
    cells: Sequence[Cell],
    options: Options,
    extra: Mapping[str, str],
) -> bool:
    """Prepare the data and run ``waiting``; whether it was interrupted."""
    environment = {**os.environ, **extra}
    cores, memory = available_cores(), available_memory()
    on_cpu = any(OmegaConf.select(cell.config, "trainer.accelerator") == "cpu" for cell in waiting)
    gpus = [] if on_cpu else available_gpus()

    record.write(cells, force=True)
    start_server(options.preload)
    display = Display()
    found = _calibrate(waiting, options, cores, gpus, environment, display)
    sharing = None
    if gpus:
        sharing = Sharing.of(len(gpus), cores, options.slots, None if found is None else found.memory)

    def plan_of(some: Sequence[Cell]) -> Plan:
        works = [cell.work for cell in some]
        threads = options.threads or _wanted_threads(some)
        return plan_slots(works, cores, sharing=sharing, memory=memory, slots=options.slots, threads=threads)

    done = f", {len(cells) - len(waiting)} done already" if len(waiting) < len(cells) else ""
    where = f"{len(gpus)} GPUs" if gpus else f"{cores} CPU cores"
    first = duration(plan_of(waiting).seconds)
    display.say(f"{len(waiting)} cells to run on {where}{done}; first estimate {first}")
    known = partial(_estimate_anew, gpu=bool(gpus), calibration=found)
    _prepare(waiting, options.prepare, cores, environment, display, known)
    ready = [cell for cell in waiting if not cell.ended]
    if not ready:
        return False
    plan = plan_of(ready)
    if duration(plan.seconds) != first:
        display.say(f"estimate with the data read: {duration(plan.seconds)}")
    _assign(ready, plan)
    scheduler = Scheduler(
        cells=ready,
        everything=cells,
        plan=plan,
        worker=options.worker,
        record=record,
        display=display,
        memory=memory,
        gpus=gpus,
        places=1 if sharing is None else sharing.places,
        fail_fast=any(bool(cell.config.get("fail_fast")) for cell in ready),
        environment=environment,
    )
    scheduler.run()
    return scheduler.interrupts > 0


def _calibrate(
    cells: Sequence[Cell],
    options: Options,
    cores: int,
    gpus: Sequence[str],
    environment: Mapping[str, str],
    display: Display,
) -> Calibration | None:
    """Estimate ``cells`` anew by a probe of this machine, where there is a choice of slots and threads.

    Returns what the probe found, ``None`` without one.
    """
    gpu = bool(gpus)
    decided = options.slots or options.threads or _wanted_threads(cells) or cores == 1
    if len(cells) == 1 or (decided and not gpu) or (gpu and options.slots):
        return None
    config = cells[0].config  # says where the cache is and which precision is meant
    found = known_calibration(config, gpu)
    probe = options.gpu_probe if gpu else options.probe
    if found is None and probe is not None:
        if gpu:
            environment = {**environment, "CUDA_VISIBLE_DEVICES": gpus[0]}
        child = Child(Job(probe, config, 1, environment=environment))
        child.wait(PROBE_PATIENCE)
        if child.message is not None and child.message.kind == "done":
            found = cast(Calibration, child.message.result)
            if not gpu and any(point.exponent is None for point in found.points):
                display.say(
                    "other programs keep this machine busy: threads by assumed speed-ups, not by a probe"
                )
        else:
            why = child.reason()["message"].splitlines()[0]
            display.say(f"cannot probe this machine ({why}); slots and threads by assumed speeds", "yellow")
    for cell in cells:
        cell.work = estimate(cell.estimated, gpu, calibration=found)
    return found


def _prepare(
    cells: Sequence[Cell],
    worker: str | None,
    cores: int,
    environment: Mapping[str, str],
    display: Display,
    known: Callable[[Sequence[Cell], Any], None],
) -> None:
    """Build once what cells share, with its progress on the terminal; cells of data that fail, fail.

    ``known`` is called with the cells of the same data and what ``worker`` returned for the first of them.
    """
    if worker is None:
        return
    for key in dict.fromkeys(cell.data for cell in cells):
        users = [cell for cell in cells if cell.data == key]
        child = Child(Job(worker, users[0].config, cores, environment=environment))
        child.wait()
        if child.message is not None and child.message.kind == "done":
            known(users, child.message.result)
            continue
        error = child.reason()
        display.say(f"cannot prepare the data of {len(users)} cells: {error['message']}", "red")
        for cell in users:
            cell.fail(error)


def _estimate_anew(cells: Sequence[Cell], contents: Any, gpu: bool, calibration: Calibration | None) -> None:
    """Estimate cells of the same data by its contents; how much of it the first measures was read."""
    if not isinstance(contents, Contents):
        return
    for cell in cells:
        if cell.config.get("eval") == cells[0].config.get("eval"):
            cell.work = estimate(cell.estimated, gpu, contents, calibration)


def _assign(cells: Sequence[Cell], plan: Plan) -> None:
    for number, cell in enumerate(cells):
        cell.threads, cell.units = plan.threads[number], plan.units[number]
        _set(cell.config, "trainer.threads", cell.threads)
        with open_dict(cell.config):
            if "trainer" in cell.config and "progress" in cell.config.trainer:
                cell.config.trainer.progress = False  # it would fill the log with redrawn bars


def _wanted_threads(cells: Sequence[Cell]) -> int | None:
    """Threads that the configurations ask for; the most, if they differ."""
    return max((cell.config.trainer.threads or 0 for cell in cells), default=0) or None


def _set(config: DictConfig, key: str, value: Any) -> None:
    """Set ``key`` where the configuration has it and leaves it open."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent)
    if isinstance(node, DictConfig) and name in node and node[name] is None:
        node[name] = value


def data_key(config: DictConfig) -> str:
    """What cells must share to share prepared data: all of ``data`` but the share used of it."""
    data = OmegaConf.to_container(config.data, resolve=True)
    assert isinstance(data, dict)
    data.pop("frac", None)
    data.pop("label", None)
    model = config.model
    tokenizer = None if model.init == "scratch" else model.pretrained
    prompts = model.query_prompt, model.passage_prompt
    return json.dumps([data, config.cache, tokenizer, prompts], sort_keys=True)

"""``python -m sweeps plan``: cells, sizes, cost and time of a sweep before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import options as shared

if TYPE_CHECKING:
    from rich.table import Table

    from sweeps.launch.plan import PlannedCell, SweepPlan


def run(
    overrides: Annotated[list[str] | None, typer.Argument(help="As for `python train.py -m`.")] = None,
    multirun: Annotated[bool, typer.Option("-m", "--multirun", hidden=True)] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Estimate for an accelerator such as h100.", metavar="NAME")
    ] = None,
    count: Annotated[int, typer.Option("--count", help="Accelerators.", min=1, metavar="N")] = 1,
    slots: Annotated[
        int | None, typer.Option("--slots", help="Cells side by side.", min=1, metavar="N")
    ] = None,
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="Read the data, preparing what is missing.")
    ] = True,
    limit: Annotated[int, typer.Option("--limit", help="Rows shown; 0 = all.", min=0, metavar="N")] = 50,
    json_file: Annotated[Path | None, shared.file("--json", "Write everything to a file.")] = None,
) -> None:
    """Check every cell of a sweep and print what it would cost: nothing is run."""
    from retrieval.errors import ConfigError
    from retrieval.run.files import write_json
    from sweeps.launch.compose import compose_command
    from sweeps.launch.display import output
    from sweeps.launch.need import ACCELERATORS

    if device is not None and device.lower() not in ACCELERATORS:
        raise ConfigError(f"--device {device} is not known; valid: {', '.join(ACCELERATORS)}")
    composed = compose_command(overrides or [])
    from sweeps.launch.plan import plan_sweep  # PyTorch waits until every cell is composed

    accelerator = ACCELERATORS[device.lower()] if device else None
    plan = plan_sweep(composed, accelerator, count, slots, data)
    if json_file is not None:
        write_json(json_file, plan.record())
    output().print(_table(plan.cells[: limit or None]))
    if limit and len(plan.cells) > limit:
        typer.echo(f"... {len(plan.cells) - limit} more (--limit 0 shows all)")
    for line in _summary(plan, accelerator.memory if accelerator else None):
        typer.echo(line)


def _table(cells: list[PlannedCell]) -> Table:
    from rich.text import Text

    from sweeps.launch.display import duration, run_table

    table = run_table(("N", "params", "D", "tokens", "FLOPs", "memory", "threads", "start", "time"))
    for cell in cells:
        table.add_row(
            Text(cell.run),
            "to run" if cell.state == "absent" else cell.state,
            f"{cell.params_non_embedding:,}",
            f"{cell.params_total:,}",
            "?" if cell.train_pairs is None else f"{cell.train_pairs:,}",
            f"{cell.train_tokens:.2e}",
            f"{cell.train_flops:.2e}",
            _size(cell.memory_bytes),
            "" if cell.threads is None else str(cell.threads),
            "" if cell.start_seconds is None else duration(cell.start_seconds),
            duration(cell.seconds),
        )
    return table


def _summary(plan: SweepPlan, memory: int | None) -> list[str]:
    from sweeps.launch.display import duration

    totals = plan.totals()
    states = ", ".join(
        f"{number} {'to run' if name == 'absent' else name}" for name, number in totals["states"].items()
    )
    lines = [
        f"{totals['cells']} cells: {states}",
        f"training of all: {totals['train_tokens']:.3g} tokens, {totals['train_flops']:.3g} FLOPs; "
        f"left: {totals['train_flops_left']:.3g} FLOPs",
        f"on {plan.target}, {plan.slots} slots: about {duration(plan.seconds)} for what is left "
        f"({duration(totals['cell_seconds_left'])} of cells), "
        f"up to {_size(totals['most_memory_bytes'])} a cell",
        f"on disk: {_size(totals['disk_bytes'])} when all are done, "
        f"{_size(totals['disk_bytes_cleaned'])} after `python -m sweeps clean`",
        *plan.assumptions,
    ]
    if plan.critical_path:
        lines.append(f"critical path, {len(plan.critical_path)} cells: " + " > ".join(plan.critical_path[:8]))
        lines[-1] += " > ..." if len(plan.critical_path) > 8 else ""
    too_large = [cell.run for cell in plan.cells if memory is not None and cell.memory_bytes > memory]
    if too_large:
        lines.append(f"{len(too_large)} cells need more memory than the device has, such as {too_large[0]}")
    return lines


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB"

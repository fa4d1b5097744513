"""``python -m sweeps status``: which cells are expected, done, running, failed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeps.commands import options as shared

if TYPE_CHECKING:
    from rich.console import Group

    from sweeps.commands.inventory import CellStatus

WATCH_SECONDS = 2.0


def run(
    runs: shared.RunsOption = Path("runs"),
    watch: Annotated[bool, typer.Option("--watch", help="Redraw until no sweep and no run is left.")] = False,
    limit: Annotated[int, typer.Option("--limit", help="Rows shown; 0 = all.", min=0, metavar="N")] = 50,
) -> None:
    """Show expected, done, running and failed cells with progress and the last error line."""
    from rich.live import Live

    from sweeps.commands.inventory import sweep_is_alive, take_inventory
    from sweeps.launch.display import output

    console = output()
    cells = take_inventory(runs)
    if not watch:
        console.print(render(cells, limit))
        return
    with Live(render(cells, limit), console=console, auto_refresh=False) as live:
        while any(cell.state == "running" for cell in cells) or sweep_is_alive(runs):
            time.sleep(WATCH_SECONDS)
            cells = take_inventory(runs)
            live.update(render(cells, limit), refresh=True)


def render(cells: Sequence[CellStatus], limit: int) -> Group:
    """The table of the first ``limit`` cells and the counts of all."""
    from rich.console import Group
    from rich.text import Text

    from sweeps.commands.inventory import counts, outlook
    from sweeps.launch.display import run_table

    table = run_table(("step", "time", "left", "pairs/s"), "last error")
    shown = cells[:limit] if limit else cells
    for cell in shown:
        table.add_row(*(Text(value) for value in row(cell)))
    parts: list[Any] = [table] if shown else []
    if len(shown) < len(cells):
        parts.append(Text(f"… and {len(cells) - len(shown)} more; --limit 0 shows all"))
    return Group(*parts, Text("\n".join(filter(None, (counts(cells), outlook(cells))))))


def row(cell: CellStatus) -> tuple[str, ...]:
    """The cell's line of the table."""
    from sweeps.launch.display import duration

    phase = f" {cell.phase}" if cell.state == "running" and cell.phase not in (None, "train") else ""
    return (
        cell.run,
        cell.state + phase,
        f"{cell.step}/{cell.steps}" if cell.steps else "",
        duration(cell.seconds),
        duration(cell.seconds_left),
        f"{cell.pairs_per_second:.0f}" if cell.pairs_per_second is not None else "",
        cell.error,
    )

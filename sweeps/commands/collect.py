"""``python -m sweeps collect``: one row a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from retrieval.run.storage import writable_file
from sweeps.commands.options import RunsOption, WandbOption, WhereOption, report_skipped


def run(
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="File to write: .csv or .parquet.", metavar="FILE", callback=writable_file
        ),
    ],
    runs: RunsOption = Path("runs"),
    wandb: WandbOption = None,
    where: WhereOption = None,
) -> None:
    """Collect finished runs into one table; unfinished and failed ones are counted and named."""
    from sweeps.errors import TableError
    from sweeps.table.runs import collect_runs, keep_where, write_table
    from sweeps.table.wandb_rows import collect_wandb

    collected = collect_wandb(wandb) if wandb is not None else collect_runs(runs)
    report_skipped(collected.skipped)
    if collected.frame.empty:
        raise TableError(f"{wandb or runs} holds no finished run ({collected.summary()})")
    frame = keep_where(collected.frame, where or [])
    write_table(frame, out)
    typer.echo(f"{collected.summary()}; wrote {len(frame)} rows and {len(frame.columns)} columns to {out}")

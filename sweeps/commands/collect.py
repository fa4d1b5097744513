"""``python -m sweeps collect``: one row a run."""

from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared


def run(
    out: Annotated[Path, shared.file("--out", "File to write: .csv or .parquet.")],
    runs: shared.RunsOption = Path("runs"),
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
) -> None:
    """Collect finished runs into one table; unfinished and failed ones are counted and named."""
    from sweeps.table.files import write_table
    from sweeps.table.runs import keep_where

    collected = shared.collect(runs, None, wandb)
    frame = keep_where(collected.frame, where or [])
    write_table(frame, out)
    typer.echo(f"{collected.summary()}; wrote {len(frame)} rows and {len(frame.columns)} columns to {out}")

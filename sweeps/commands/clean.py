"""``python -m sweeps clean``: checkpoints of finished runs are needed by nothing."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared


def run(
    runs: shared.RunsOption = Path("runs"),
    yes: Annotated[bool, typer.Option("--yes", help="Remove without asking.")] = False,
) -> None:
    """Remove the checkpoints of finished runs, after asking; results and encoders stay."""
    from sweeps.commands.inventory import named, take_inventory

    folders = [run.checkpoints for run in named(runs, take_inventory(runs), "done")]
    folders = [folder for folder in folders if folder.is_dir()]
    size = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    what = f"checkpoints of {len(folders)} finished runs ({size / 2**20:.1f} MiB)"
    if not folders:
        typer.echo("no finished run has checkpoints")
        return
    if not yes and not typer.confirm(f"remove the {what}?"):
        typer.echo("nothing removed")
        return
    for folder in folders:
        shutil.rmtree(folder)
    typer.echo(f"removed the {what}")

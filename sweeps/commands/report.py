"""``python -m sweeps report``: the page people read, figures for papers, tables and records."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared

OutOption = Annotated[Path, shared.folder("--out", "Folder for the page, figures, tables and fits.")]


def run(
    out: OutOption = Path("report"),
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    title: Annotated[
        str, typer.Option("--title", help="Heading of the page.")
    ] = "How effectiveness and robustness scale",
    records: Annotated[
        Path | None,
        typer.Option(
            "--records",
            help="Folder of what fit, frontier … wrote. Default: beside the runs folder, or here.",
            metavar="DIR",
        ),
    ] = None,
    study: Annotated[
        str | None,
        typer.Option(
            "--study",
            help="Name and options of the study that made the runs, shown as the command to repeat.",
        ),
    ] = None,
    formats: Annotated[
        str, typer.Option("--formats", help="Formats of the figures' files; svg is always written.")
    ] = "svg,pdf,png",
) -> None:
    """Write one self-contained HTML page, with figures as SVG, PDF and PNG and tables as CSV beside it."""
    from sweeps.report.build import ReportOptions, build_report
    from sweeps.table.runs import keep_where

    collected = shared.collect(runs, table, wandb, tell=False)
    shared.report_skipped(collected.skipped)
    whole = collected.frame if where else None
    collected = replace(collected, frame=keep_where(collected.frame, where or []))
    folder = runs if table is None and wandb is None else None
    beside = records or (folder.resolve().parent if folder is not None else Path())
    options = ReportOptions(title, folder, _formats(formats), beside, study=study, whole=whole)
    page = build_report(collected, out, options)
    typer.echo(f"{collected.summary()}; wrote {page}")


def _formats(text: str) -> tuple[str, ...]:
    from retrieval.errors import ConfigError
    from sweeps.report.figures.style import FORMATS

    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in FORMATS]
    if unknown:
        raise ConfigError(f"--formats {unknown[0]} does not exist; choose among {', '.join(FORMATS)}")
    return tuple(dict.fromkeys(["svg", *wanted]))

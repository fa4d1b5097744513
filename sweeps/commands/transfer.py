"""``python -m sweeps transfer``: trained against one perturbation, tested on every kind of robustness."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared


def run(
    baseline: Annotated[
        str, typer.Option("--baseline", help="Label of what the others are compared with.")
    ] = "standard",
    metric: Annotated[
        list[str] | None,
        typer.Option("--metric", help="Column to test on; repeatable. Default: the measures of all kinds."),
    ] = None,
    out: shared.JsonOption = Path("transfer.json"),
    figures: Annotated[Path | None, shared.folder("--figures", "Folder for the matrix as a figure.")] = None,
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    level: shared.LevelOption = 0.95,
) -> None:
    """The transfer matrix: what training against a perturbation does for every kind of robustness.

    A row is a strategy and the perturbation that it was trained against, a column a measure: effectiveness,
    OOD, varied queries, attacks, biases. An entry is row less baseline, paired by cell and seed, with a t
    interval; p values are corrected over the matrix by Holm's method. The matrix is written as JSON, and as
    a CSV file beside it.

    Example: python -m sweeps transfer --runs runs --out transfer.json
    """
    from sweeps.fitting.present import aligned, describe_warnings
    from sweeps.report.figures.style import save
    from sweeps.report.figures.transfer import transfer_panel
    from sweeps.robustness.transfer import rows_of, table_of, transfer
    from sweeps.table.files import write_table

    frame, source = shared.load(runs, table, wandb, where)
    record = replace(transfer(frame, baseline, metric or (), level), source=source)
    beside = out.with_suffix(".csv")
    write_table(table_of(record), beside)
    head = f"less {baseline} (± half of the {100 * level:g} % interval), * decided ({record.correction}):"
    lines = [head, *aligned(rows_of(record), left=1), *describe_warnings(record.warnings or ())]
    shared.write(out, record, lines)
    typer.echo(f"wrote {beside}")
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        save(transfer_panel(record), figures)
        typer.echo(f"wrote {figures}/transfer.svg, .pdf and .png")

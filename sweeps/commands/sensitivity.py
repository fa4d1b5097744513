"""``python -m sweeps sensitivity``: do effectiveness and robustness respond differently to N and to D?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import options as shared

if TYPE_CHECKING:
    from sweeps.fitting.sensitivity import Sensitivities
    from sweeps.table.cells import LeftOut


def run(
    out: shared.JsonOption = Path("sensitivity.json"),
    first: Annotated[str, typer.Option("--first", help="First metric.")] = "eff/contrastive_entropy",
    second: Annotated[str, typer.Option("--second", help="Second metric.")] = "ood/contrastive_entropy",
    law: Annotated[str, typer.Option("--law", help="Form fitted to both.")] = "joint",
    by: Annotated[str, typer.Option("--by", help="Column whose values are analysed apart.")] = "strategy",
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    n: shared.NColumn = shared.SIZE,
    d: shared.DColumn = shared.PAIRS,
    seed_column: shared.SeedColumn = "seed",
    run_column: shared.RunColumn = "run",
    level: shared.LevelOption = 0.95,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=1, help="Bootstrap replicates.")] = 1000,
    seed: shared.SeedOption = 0,
    drop_invalid: shared.DropOption = False,
) -> None:
    """Compare how two metrics of the same runs respond to model size and data (paired bootstrap)."""
    from retrieval.errors import DataError
    from sweeps.diagnostics import TableError
    from sweeps.fitting.groups import split
    from sweeps.fitting.laws import get_law
    from sweeps.fitting.points import Columns
    from sweeps.fitting.result import FitOptions
    from sweeps.fitting.sensitivity import SensitivityFile, sensitivities
    from sweeps.table.cells import only_positive
    from sweeps.table.families import column_of

    frame, source = shared.load(runs, table, wandb, where)
    options = FitOptions(level=level, bootstrap=bootstrap, seed=seed)
    columns = shared.columns_of(frame, [first, second], Columns(n, d, seed_column, run_column))
    left: list[LeftOut] = []
    if drop_invalid:
        frame, left = only_positive(frame, [first, second, *columns.read(frame, get_law(law).axes)])
    groups, apart = ({"all": frame}, []) if by == "strategy" and by not in frame else split(frame, by)
    shared.tell([*left, *apart])
    found: dict[str, Sensitivities] = {}
    refused: dict[str, str] = {}
    for name, rows in groups.items():
        try:
            with shared.progress_bar(f"bootstrap {name}") as progress:
                found[name] = sensitivities(
                    rows, first, second, law=law, columns=columns, options=options, progress=progress
                )
        except DataError as error:
            refused[name] = str(error)
    _show(found, refused)
    if not found:
        raise TableError(f"no group of {by} can be analysed: {'; '.join(refused.values())}")
    said = [rows.finding for rows in (*left, *apart)]
    shared.write(out, SensitivityFile(column_of(by), found, refused, source, said or None))


def _show(found: dict[str, Sensitivities], refused: dict[str, str]) -> None:
    for name, one in found.items():
        typer.echo("\n".join([f"[{name}]", *(f"  {line}" for line in one.verdicts)]))
        for metric, warnings in one.warnings.items():
            for item in warnings:
                typer.echo(f"  {item.level} {item.code} ({metric}): {item.message}")
    for name, reason in refused.items():
        typer.echo(f"[{name}] not analysed: {reason}", err=True)

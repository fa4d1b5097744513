"""``python -m sweeps fit``: a scaling law with its uncertainty, or the reason why there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sweeps.commands.options import (
    PAIRS,
    SIZE,
    DColumn,
    JsonOption,
    NColumn,
    RunsOption,
    SeedColumn,
    TableOption,
    WandbOption,
    WhereOption,
    load,
    progress_bar,
)

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.fitting.points import Columns
    from sweeps.fitting.result import FitOptions, FitResult


def run(
    out: JsonOption = Path("fit.json"),
    metric: Annotated[
        str, typer.Option("--metric", help="Key of the metric to fit.")
    ] = "eff/contrastive_entropy",
    law: Annotated[
        str,
        typer.Option("--law", help="auto, joint, additive, model, data, data-shifted; -no-floor, -bounded."),
    ] = "joint",
    by: Annotated[str | None, typer.Option("--by", help="Fit each value of a column, e.g. strategy.")] = None,
    runs: RunsOption = Path("runs"),
    table: TableOption = None,
    wandb: WandbOption = None,
    where: WhereOption = None,
    n: NColumn = SIZE,
    d: DColumn = PAIRS,
    y: Annotated[
        str | None, typer.Option("--y", help="Column to fit, the same as --metric.", metavar="COL")
    ] = None,
    seed_column: SeedColumn = "seed",
    held_out: Annotated[
        str | None,
        typer.Option("--held-out", help="Rows to predict, not to fit: COLUMN=VALUE.", metavar="COLUMN=VALUE"),
    ] = None,
    predict: Annotated[
        list[str] | None, typer.Option("--predict", help="Also predict at N,D; repeatable.", metavar="N,D")
    ] = None,
    loss: Annotated[
        Literal["least-squares", "huber"], typer.Option("--loss", help="Loss of ln residuals.")
    ] = "least-squares",
    huber_scale: Annotated[
        float | None, typer.Option("--huber-scale", help="Where Huber turns linear; default: from residuals.")
    ] = None,
    unit: Annotated[
        Literal["configuration", "run"], typer.Option("--unit", help="What counts as a point.")
    ] = "configuration",
    starts: Annotated[int, typer.Option("--starts", min=50, help="Least number of starts.")] = 96,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Level of intervals.")] = 0.95,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=0, help="Bootstrap replicates.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 0,
    chance: Annotated[
        float | None,
        typer.Option("--chance", help="Chance level of the metric; default: ln(W+1) if W is known."),
    ] = None,
    complement: Annotated[
        bool, typer.Option("--complement", help="Fit 1 − metric (for nDCG and its like).")
    ] = False,
    drop_invalid: Annotated[
        bool, typer.Option("--drop-invalid", help="Leave out rows without a positive number, and count them.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 on an error-level diagnostic.")
    ] = False,
) -> None:
    """Fit a scaling law: parameters, intervals, hold-out error, diagnostics."""
    from retrieval.run.files import write_json
    from sweeps.fitting.points import Columns
    from sweeps.fitting.result import FitOptions

    frame, metric = _frame(load(runs, table, wandb, where), y or metric, complement, drop_invalid)
    apart = _held_out(frame, held_out)
    options = FitOptions(loss, huber_scale, unit, starts, level, bootstrap, seed, chance)
    columns = Columns(n=n, d=d, seed=seed_column)
    fits, refused, record = _fit(frame[~apart], by, law, metric, columns, options)
    targets = _targets(frame[apart], metric, columns, predict or [])
    _attach(record, fits, targets, by is not None)
    write_json(out, record)
    _show(fits, refused, targets, by is not None)
    typer.echo(f"wrote {out}")
    errors = sorted(
        {warning.code for fit in fits.values() for warning in fit.warnings if warning.level == "error"}
    )
    if strict and (errors or refused):
        typer.echo(f"--strict: {', '.join([*errors, *(f'{name} refused' for name in refused)])}", err=True)
        raise typer.Exit(1)


Target = tuple[float, float, float | None]
"""N, D and the observed metric of a held-out row (None for ``--predict``)."""


def _frame(
    frame: pd.DataFrame, metric: str, complement: bool, drop_invalid: bool
) -> tuple[pd.DataFrame, str]:
    """The table with the metric to fit, and the metric's name."""
    import numpy as np
    import pandas as pd

    from sweeps.errors import missing_column
    from sweeps.fitting.points import COMPLEMENT

    frame = frame.copy()
    if metric not in frame:
        raise missing_column(metric, frame.columns)
    if complement:
        risen = pd.to_numeric(frame[metric], errors="coerce")
        metric = COMPLEMENT + metric
        frame[metric] = 1 - risen
    if drop_invalid:
        known = pd.to_numeric(frame[metric], errors="coerce").to_numpy(dtype=float, na_value=np.nan)
        good = np.isfinite(known) & (known > 0)
        if not good.all():
            typer.echo(f"left out: {int((~good).sum())} rows without a positive {metric}", err=True)
        frame = frame[good]
    return frame, metric


def _held_out(frame: pd.DataFrame, condition: str | None) -> pd.Series:
    """Boolean mask of the rows that ``--held-out`` keeps out of the fit."""
    import pandas as pd

    from sweeps.errors import TableError, missing_column
    from sweeps.table.runs import matches

    if condition is None:
        return pd.Series(False, index=frame.index)
    column, equals, wanted = condition.partition("=")
    if not equals:
        raise TableError(f"--held-out {condition}: expected COLUMN=VALUE[,VALUE]")
    if column not in frame:
        raise missing_column(column, frame.columns)
    apart = matches(frame[column], wanted)
    if not apart.any():
        values = ", ".join(map(str, frame[column].unique()[:8]))
        raise TableError(f"--held-out {condition} matches no row; {column} has the values {values}")
    return apart


def _fit(
    frame: pd.DataFrame, by: str | None, law: str, metric: str, columns: Columns, options: FitOptions
) -> tuple[dict[str, FitResult], dict[str, str], dict[str, Any]]:
    """Fits by group name, refused groups with the reason, and the record for ``fit.json``."""
    from sweeps.fitting.fit import fit_law
    from sweeps.fitting.groups import fit_groups

    with progress_bar("bootstrap") as progress:
        if by is None:
            fit = fit_law(frame, law=law, metric=metric, columns=columns, options=options, progress=progress)
            return {"all": fit}, {}, fit.to_json()
        grouped = fit_groups(
            frame, by, law=law, metric=metric, columns=columns, options=options, progress=progress
        )
    return grouped.fits, grouped.refused, grouped.to_json()


def _targets(frame: pd.DataFrame, metric: str, columns: Columns, predict: list[str]) -> list[Target]:
    """Points to predict: held-out rows, then those of ``--predict``."""
    from sweeps.errors import TableError

    targets: list[Target] = []
    for _, row in frame.iterrows():
        sizes = {
            axis: float(row[name]) if name in row else 1.0
            for axis, name in (("N", columns.n), ("D", columns.d))
        }
        targets.append((sizes["N"], sizes["D"], float(row[metric])))
    for text in predict:
        try:
            size, pairs = (float(part) for part in text.split(","))
        except ValueError:
            raise TableError(f"--predict {text}: expected two numbers N,D such as 8.5e7,5e5") from None
        targets.append((size, pairs, None))
    return targets


def _attach(record: dict[str, Any], fits: dict[str, FitResult], targets: list[Target], grouped: bool) -> None:
    """Write predictions of the targets, with bands and doubts, into the record of each fit."""
    for name, fit in fits.items():
        place = record["groups"][name] if grouped else record
        place["predictions"] = [fit.prediction(*target) for target in targets]


def _show(fits: dict[str, FitResult], refused: dict[str, str], targets: list[Target], grouped: bool) -> None:
    from sweeps.fitting.present import describe, describe_prediction

    for name, fit in fits.items():
        lines = describe(fit, name if grouped else None)
        lines += [line for target in targets for line in describe_prediction(fit.prediction(*target))]
        typer.echo("\n".join(lines))
    for name, reason in refused.items():
        typer.echo(f"[{name}] not fitted: {reason}")

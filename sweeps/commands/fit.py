"""``python -m sweeps fit``: a scaling law with its uncertainty, or the reason why there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeps.commands import options as shared
from sweeps.fitting.laws import law_help

if TYPE_CHECKING:
    import pandas as pd

    from sweeps.fitting.points import Columns

MetricOption = Annotated[str, typer.Option("--metric", help="Key of the metric to fit.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Fit each value of a column, e.g. strategy.")]
YOption = Annotated[
    str | None, typer.Option("--y", help="Column to fit, the same as --metric.", metavar="COL")
]
HeldOutOption = Annotated[
    str | None,
    typer.Option("--held-out", help="Rows to predict, not to fit: COLUMN=VALUE.", metavar="COLUMN=VALUE"),
]
PredictOption = Annotated[
    list[str] | None, typer.Option("--predict", help="Also predict at N,D; repeatable.", metavar="N,D")
]
LossOption = Annotated[
    Literal["least-squares", "huber"], typer.Option("--loss", help="Loss of ln residuals.")
]
HuberOption = Annotated[
    float | None, typer.Option("--huber-scale", help="Where Huber turns linear; default: from residuals.")
]
UnitOption = Annotated[
    Literal["configuration", "run"], typer.Option("--unit", help="What counts as a point.")
]
StartsOption = Annotated[int, typer.Option("--starts", min=50, help="Least number of starts.")]
ChanceOption = Annotated[
    float | None, typer.Option("--chance", help="Chance level of the metric; default: ln(W+1) if W is known.")
]
ComplementOption = Annotated[
    bool, typer.Option("--complement", help="Fit 1 − metric (for nDCG and its like).")
]
DropOption = Annotated[
    bool, typer.Option("--drop-invalid", help="Leave out rows without a positive number, and count them.")
]
StrictOption = Annotated[bool, typer.Option("--strict", help="Exit with 1 on an error-level diagnostic.")]


def run(
    out: shared.JsonOption = Path("fit.json"),
    metric: MetricOption = "eff/contrastive_entropy",
    law: Annotated[str, typer.Option("--law", help=law_help())] = "joint",
    by: ByOption = None,
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    n: shared.NColumn = shared.SIZE,
    d: shared.DColumn = shared.PAIRS,
    y: YOption = None,
    seed_column: shared.SeedColumn = "seed",
    held_out: HeldOutOption = None,
    predict: PredictOption = None,
    loss: LossOption = "least-squares",
    huber_scale: HuberOption = None,
    unit: UnitOption = "configuration",
    starts: StartsOption = 96,
    level: shared.LevelOption = 0.95,
    bootstrap: shared.BootstrapOption = 1000,
    seed: shared.SeedOption = 0,
    chance: ChanceOption = None,
    complement: ComplementOption = False,
    drop_invalid: DropOption = False,
    strict: StrictOption = False,
) -> None:
    """Fit a scaling law: parameters, intervals, hold-out error, diagnostics."""
    from sweeps.fitting.groups import fit_groups
    from sweeps.fitting.points import Columns
    from sweeps.fitting.present import describe_file
    from sweeps.fitting.result import FitOptions

    loaded, source = shared.load(runs, table, wandb, where)
    frame, metric = _frame(loaded, y or metric, complement, drop_invalid)
    apart = _held_out(frame, held_out)
    options = FitOptions(loss, huber_scale, unit, starts, level, bootstrap, seed, chance)
    columns = Columns(n=n, d=d, seed=seed_column)
    points = _points(frame[apart], metric, columns, predict or [])
    with shared.progress_bar("bootstrap") as step:
        rows = frame[~apart]
        file = fit_groups(rows, by, law=law, metric=metric, columns=columns, options=options, progress=step)
    fits = {
        name: replace(fit, predictions=[fit.prediction(*point) for point in points])
        for name, fit in file.groups.items()
    }
    file = replace(file, groups=fits, source=source if held_out is None else None)
    shared.write(out, file, describe_file(file))
    found = {warning.code for fit in fits.values() for warning in fit.warnings if warning.level == "error"}
    if strict and (found or file.refused):
        reasons = [*sorted(found), *(f"{name} refused" for name in file.refused)]
        typer.echo(f"--strict: {', '.join(reasons)}", err=True)
        raise typer.Exit(1)


def _frame(
    frame: pd.DataFrame, metric: str, complement: bool, drop_invalid: bool
) -> tuple[pd.DataFrame, str]:
    import numpy as np
    import pandas as pd

    from sweeps.diagnostics import require_columns
    from sweeps.fitting.points import COMPLEMENT

    frame = frame.copy()
    require_columns(frame, metric)
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
    import pandas as pd

    from sweeps.table.runs import matches

    if condition is None:
        return pd.Series(False, index=frame.index)
    return matches(frame, condition, "--held-out", "matches no row")


def _points(
    frame: pd.DataFrame, metric: str, columns: Columns, predict: list[str]
) -> list[tuple[float, float, float | None]]:
    """N, D and, where known, the metric of the points to predict: held-out rows, then ``--predict``."""
    points: list[tuple[float, float, float | None]] = []
    for _, row in frame.iterrows():
        n, d = (float(row[name]) if name in row else 1.0 for name in (columns.n, columns.d))
        points.append((n, d, float(row[metric])))
    for text in predict:
        points.append((*shared.two_numbers("--predict", text, "two numbers N,D such as 8.5e7,5e5"), None))
    return points

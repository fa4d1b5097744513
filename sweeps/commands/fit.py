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

    from sweeps.fitting.groups import FitFile
    from sweeps.fitting.points import Columns
    from sweeps.table.cells import LeftOut

MetricOption = Annotated[
    str, typer.Option("--metric", help="Key of the metric to fit, or attack-cost/queries@0.5.")
]
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
    float | None,
    typer.Option(
        "--huber-scale",
        help="Where Huber turns linear; default: from residuals.",
        callback=shared.above_zero,
    ),
]
UnitOption = Annotated[
    Literal["configuration", "run"], typer.Option("--unit", help="What counts as a point.")
]
StartsOption = Annotated[int, typer.Option("--starts", min=50, help="Least number of starts.")]
ChanceOption = Annotated[
    float | None,
    typer.Option(
        "--chance",
        help="Chance level of the metric; default: ln(W+1) if W is known.",
        callback=shared.above_zero,
    ),
]
ComplementOption = Annotated[
    bool, typer.Option("--complement", help="Fit 1 − metric (for nDCG and its like).")
]
GrowsOption = Annotated[
    bool,
    typer.Option("--grows", help="Fit A·N^α, B·D^β or A·N^α·D^β: costs and what else grows."),
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
    run_column: shared.RunColumn = "run",
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
    grows: GrowsOption = False,
    drop_invalid: shared.DropOption = False,
    strict: StrictOption = False,
) -> None:
    """Fit a scaling law: parameters, intervals, hold-out error, diagnostics."""
    from sweeps.fitting.groups import ALONE, fit_groups, split
    from sweeps.fitting.points import Columns
    from sweeps.fitting.present import describe_file
    from sweeps.fitting.result import FitOptions

    law = _growing(law, chance) if grows else law
    wanted = [(*shared.sizes(text), None) for text in predict or []]
    loaded, source = shared.load(runs, table, wandb, where)
    frame, metric = _complemented(loaded, y or metric) if complement else (loaded, y or metric)
    frame, unreached = _with_costs(frame, metric, drop_invalid)
    columns = shared.columns_of(frame, [metric], Columns(n, d, seed_column, run_column))
    frame, invalid = _valid(frame, metric, law, columns) if drop_invalid else (frame, [])
    shared.tell(dropped := [*unreached, *invalid])
    apart = _held_out(frame, held_out)
    options = FitOptions(loss, huber_scale, unit, starts, level, bootstrap, seed, chance)
    groups = {ALONE: frame} if by is None else split(frame, by)[0]
    rest = {name: rows[apart[rows.index]] for name, rows in groups.items()}
    observed = {name: _observed(rows, metric, law, columns) for name, rows in rest.items()}
    with shared.progress_bar("bootstrap") as step:
        file = fit_groups(
            frame, by, law=law, metric=metric, columns=columns, options=options, progress=step, held_out=apart
        )
    fits = {
        name: replace(fit, predictions=[fit.prediction(*point) for point in (*observed[name], *wanted)])
        for name, fit in file.groups.items()
    }
    file = replace(file, groups=fits, source=replace(source, held_out=held_out)).without(dropped)
    shared.write(out, file, describe_file(file))
    if strict:
        _exit_if_unsound(file)


def _exit_if_unsound(file: FitFile) -> None:
    """Exit with 1 on a diagnostic of level error or a refused group."""
    warnings = (warning for fit in file.groups.values() for warning in fit.warnings)
    found = {warning.code for warning in warnings if warning.level == "error"}
    if found or file.refused:
        reasons = [*sorted(found), *(f"{name} refused" for name in file.refused)]
        typer.echo(f"--strict: {', '.join(reasons)}", err=True)
        raise typer.Exit(1)


def _growing(law: str, chance: float | None) -> str:
    """The law of what grows over the axes of ``law``."""
    from retrieval.errors import ConfigError
    from sweeps.fitting.laws import growing

    if chance is not None:
        raise ConfigError(f"--chance {chance:g}: what --grows has no chance level; leave one of the two out")
    return growing(law)


def _with_costs(frame: pd.DataFrame, metric: str, drop_invalid: bool) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The table with the cost of an attack, where ``metric`` is one, and the rows that have none."""
    from sweeps.fitting.attack_cost import is_attack_cost, with_attack_cost

    return with_attack_cost(frame, metric, drop_invalid) if is_attack_cost(metric) else (frame, [])


def _complemented(frame: pd.DataFrame, metric: str) -> tuple[pd.DataFrame, str]:
    """The table with one minus the metric, and the name of that column."""
    from sweeps.diagnostics import require_columns
    from sweeps.fitting.points import COMPLEMENT
    from sweeps.table.cells import numbers

    require_columns(frame, metric)
    name = COMPLEMENT + metric
    return frame.assign(**{name: 1 - numbers(frame[metric])}), name


def _valid(
    frame: pd.DataFrame, metric: str, law: str, columns: Columns
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The rows with all numbers that the law reads, and the others."""
    from sweeps.table.cells import only_positive

    return only_positive(frame, [metric, *columns.read(frame, _axes(law))])


def _axes(law: str) -> tuple[str, ...]:
    """The axes of a law; none in particular of the one that the fit chooses."""
    from sweeps.fitting.laws import get_law

    return () if law == "auto" else get_law(law).axes


def _held_out(frame: pd.DataFrame, condition: str | None) -> pd.Series:
    import pandas as pd

    from sweeps.table.runs import matches

    if condition is None:
        return pd.Series(False, index=frame.index)
    return matches(frame, condition, "--held-out", "matches no row")


def _observed(
    frame: pd.DataFrame, metric: str, law: str, columns: Columns
) -> list[tuple[float, float, float]]:
    """N, D and the metric of the rows to predict, which must be as sound as those of a fit."""
    from sweeps.diagnostics import require_columns
    from sweeps.fitting.points import positive

    if frame.empty:
        return []
    read = columns.read(frame, _axes(law))
    require_columns(frame, metric, *read)
    values = {name: positive(frame, name).tolist() for name in (metric, *read)}
    ones = [1.0] * len(frame)
    n, d = (values.get(name, ones) for name in (columns.n, columns.d))
    return list(zip(n, d, values[metric]))

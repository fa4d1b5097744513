"""``python -m sweeps compare``: two strategies seed by seed in every cell, and the regret of a rule of ω."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared

MetricOption = Annotated[
    list[str] | None, typer.Option("--metric", help="Metric to compare; repeatable. Default: eff and ood.")
]
StrategyOption = Annotated[
    list[str] | None,
    typer.Option("--strategy", help="Label of the strategy to judge; repeatable. Default: pareto."),
]
RegretOption = Annotated[
    bool, typer.Option("--regret", help="Also the regret against the best fixed ω of each cell.")
]
ChangeOption = Annotated[
    str | None,
    typer.Option(
        "--change", help="A column of --by: also how the difference changes along it.", metavar="COLUMN"
    ),
]
LabelOption = Annotated[
    str,
    typer.Option(
        "--label-by",
        help="Columns that labels state, so that settings can be compared: see below.",
        metavar="COLUMN[,COLUMN]",
    ),
]


def run(
    baseline: Annotated[
        str,
        typer.Option(
            "--baseline", help="Label of the strategy to compare with, best-fixed, untrained or bm25."
        ),
    ] = "standard",
    strategy: StrategyOption = None,
    metric: MetricOption = None,
    by: Annotated[
        str, typer.Option("--by", help="Columns whose values make a cell; '' for one cell of all runs.")
    ] = "model,frac",
    regret: RegretOption = False,
    change: ChangeOption = None,
    label_by: LabelOption = "",
    out: shared.JsonOption = Path("compare.json"),
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    level: shared.LevelOption = 0.95,
) -> None:
    """Compare a strategy with a baseline in every cell, seed by seed.

    The difference is strategy less baseline, so negative is better for contrastive entropy. Its interval is
    the t interval over the differences of the seeds that both were run with; p values are corrected over the
    cells by Holm's method. The mean over the metrics is in nats. Cells with one seed get no interval.

    Labels are those of the report: standard, pooled, pareto, "pareto dev", "fixed ω=0.25".

    Several --strategy are judged by one baseline, and p values corrected over all their cells.

    --baseline best-fixed takes, in each cell, the fixed ω with the best dev metrics (standard is ω = 0).
    --baseline untrained takes the model before its training, and --baseline bm25 takes BM25, as each run of
    the strategy measured them. To hold model families against each other: python -m sweeps families.

    --regret tells whether a rule of ω is better than any ω kept everywhere: its worst loss against the best
    fixed ω of each cell, beside that of every single ω.

    --change model asks whether the difference depends on the size: in every cell, less that of the smallest
    model with the same fraction, paired by seed. A row without a star shows no dependence; its interval says
    how much there may be.

    --label-by train/steps,model/dropout makes labels of settings: "standard (train/steps=300)", "fixed ω=0.5
    (train/steps=600, model/dropout=0.1)". A setting that a run left at its default is not stated.

    Example: python -m sweeps compare --baseline best-fixed --strategy "pareto dev" --regret
    """
    from sweeps.comparison import CompareOptions, compare
    from sweeps.comparison.record import describe

    metrics = tuple(metric or CompareOptions.metrics)
    options = CompareOptions(metrics, shared.names(by), level, regret, change, shared.names(label_by))
    frame, source = shared.load(runs, table, wandb, where)
    record = compare(frame, baseline, strategy or ["pareto"], options)
    shared.write(out, replace(record, source=source), describe(record))

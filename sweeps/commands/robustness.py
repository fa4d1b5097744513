"""``python -m sweeps robustness``: statistics over per-query scores that separate model from data."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared

KindOption = Annotated[
    list[str] | None,
    typer.Option("--kind", help="Kind to analyse: eff, ood, eff+ood, adv, var/typo …; repeatable."),
]
BaselineOption = Annotated[
    str | None, typer.Option("--baseline", help="Group to compare with. Default: standard, else the first.")
]


def run(
    out: shared.JsonOption = Path("robustness.json"),
    runs: shared.RunsOption = Path("runs"),
    metric: Annotated[
        str, typer.Option("--metric", help="Score of a query, such as ndcg@10.")
    ] = "contrastive_entropy",
    by: Annotated[
        str, typer.Option("--by", help="What to compare: strategy, run, or a column of the table.")
    ] = "strategy",
    baseline: BaselineOption = None,
    kind: KindOption = None,
    tables: Annotated[Path | None, shared.folder("--tables", "Folder for the tables as CSV.")] = None,
    where: shared.WhereOption = None,
    level: shared.LevelOption = 0.95,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=100, help="Bootstrap draws.")] = 1000,
    seed: shared.SeedOption = 0,
    max_queries: Annotated[
        int, typer.Option("--max-queries", min=10, help="Queries of a collection that are analysed.")
    ] = 2000,
) -> None:
    """Separate what the model does from what the data do, over the scores of every query.

    For every kind of test (effectiveness, OOD, attacks, query variations): a linear mixed-effects model with
    variance shares, differences with a bootstrap over queries, seeds and collections, and the probability
    that one wins against the other at a query. p values are corrected by Holm's method.

    Reads scores/queries.parquet of the run directories. Needs pip install 'paretrieve[robustness]'.

    Example: python -m sweeps robustness --runs runs --metric ndcg@10 --kind ood
    """
    from sweeps.robustness.compute import RobustnessOptions, robustness
    from sweeps.robustness.present import describe, write_tables

    options = RobustnessOptions(
        metric, by, baseline, tuple(kind or ()), level, bootstrap, seed, max_queries=max_queries
    )
    frame, source = shared.load(runs, None, None, where)
    with shared.progress_bar("reading scores") as step:
        record = robustness(frame, runs, options, step)
    shared.write(out, replace(record, source=source), describe(record))
    if tables is not None:
        for path in write_tables(record, tables):
            typer.echo(f"wrote {path}")

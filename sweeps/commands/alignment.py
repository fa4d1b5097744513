"""``python -m sweeps alignment``: do training losses and dev metrics stand for test metrics?"""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared


def run(
    every: Annotated[
        bool, typer.Option("--every-strategy", help="Choose among all strategies, not among fixed ω alone.")
    ] = False,
    along: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Choose among the values of COLUMN, as train/steps, within each strategy.",
        ),
    ] = None,
    out: shared.JsonOption = Path("alignment.json"),
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    level: shared.LevelOption = 0.95,
) -> None:
    """Do training losses and dev metrics stand for test metrics? Rank correlations, and what a choice loses.

    A cell is one model and one fraction of the data. Within it runs differ in ω alone. A proxy that ranks
    them as the test metric does can choose ω. The regret is what its choice loses against the best ω. With
    --along train/steps a cell is also one strategy, and the choice is when to stop.

    Example: python -m sweeps alignment --where model=bert-tiny
    """
    from sweeps.comparison.alignment import alignment, describe

    frame, source = shared.load(runs, table, wandb, where)
    found = alignment(frame, level, every, along)
    shared.write(out, replace(found, source=source), describe(found))

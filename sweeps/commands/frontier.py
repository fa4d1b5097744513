"""``python -m sweeps frontier``: the Pareto frontier and the point that Pareto training aims at."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared

FirstOption = Annotated[
    str | None, typer.Option("--x", help="First objective. Default: eff/contrastive_entropy.")
]
SecondOption = Annotated[
    str | None, typer.Option("--y", help="Second objective. Default: ood/contrastive_entropy.")
]
DevOption = Annotated[
    bool, typer.Option("--dev", help="Draw it in dev metrics, for training: dev/ before both defaults.")
]


def run(
    out: shared.JsonOption = Path("frontier.json"),
    x: FirstOption = None,
    y: SecondOption = None,
    dev: DevOption = False,
    by: Annotated[
        str, typer.Option("--by", help="Columns with a frontier of their own for each value; '' for none.")
    ] = "model,frac",
    knee: Annotated[
        str, typer.Option("--knee", help="Rule for the Pareto-efficient point: chord, ideal or utility.")
    ] = "chord",
    reference: Annotated[
        str | None, typer.Option("--reference", help="Worst corner of the hypervolume.", metavar="X,Y")
    ] = None,
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    bootstrap: shared.BootstrapOption = 1000,
    seed: shared.SeedOption = 0,
    level: shared.LevelOption = 0.95,
) -> None:
    """Find the non-dominated runs, the knee of their frontier, ρ* = R*/E* and the hypervolume.

    In test metrics, the default, the frontier is for reporting. With --dev it is drawn in dev metrics: that
    file is what strategy=pareto strategy.frontier=FILE takes, because nothing measured on test data may steer
    training. The record says which it is: "steers" is true exactly when both metrics are dev metrics.

    Example: python -m sweeps frontier --dev --out frontier.json
    """
    from sweeps.frontier.record import describe
    from sweeps.frontier.trace import FrontierOptions, frontier

    first, second = _objectives(x, y, dev)
    numbers = "two numbers, such as 5.549,5.549"
    corner = shared.two_numbers("--reference", reference, numbers) if reference is not None else None
    options = FrontierOptions(first, second, shared.names(by), knee, corner, bootstrap, seed, level)
    frame, source = shared.load(runs, table, wandb, where)
    record = frontier(frame, options)
    shared.write(out, replace(record, source=source), describe(record, out))


def _objectives(x: str | None, y: str | None, dev: bool) -> tuple[str, str]:
    """The metrics asked for; ConfigError where --dev is given with a test metric."""
    from retrieval.errors import ConfigError
    from sweeps.frontier.trace import DEV, EFFECTIVENESS, ROBUSTNESS

    for option, name in (("--x", x), ("--y", y)):
        if dev and name is not None and not name.startswith("dev/"):
            raise ConfigError(f"--dev {option} {name}: not a dev metric; say dev/{name}, or leave --dev out")
    defaults = DEV if dev else (EFFECTIVENESS, ROBUSTNESS)
    return x or defaults[0], y or defaults[1]

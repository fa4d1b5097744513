"""``python -m sweeps frontier``: the Pareto frontier and the point that Pareto training aims at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import options as shared

if TYPE_CHECKING:
    from sweeps.frontier.record import Frontier

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
        str | None,
        typer.Option("--reference", help="Worst corner of the hypervolume.", metavar="X,Y"),
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
    from sweeps.frontier.trace import FrontierOptions, frontier
    from sweeps.table.source import Source

    first, second = _objectives(x, y, dev)
    corner = _corner(reference)
    options = FrontierOptions(first, second, shared.names(by), knee, corner, bootstrap, seed, level)
    frame = shared.load(runs, table, wandb, where)
    record = frontier(frame, options, Source.of(frame, where or ()))
    shared.write(out, record, [*describe(record), purpose(record, out)])


def _objectives(x: str | None, y: str | None, dev: bool) -> tuple[str, str]:
    """The metrics asked for; ConfigError where --dev is given with a test metric."""
    from retrieval.errors import ConfigError
    from sweeps.frontier.trace import DEV, EFFECTIVENESS, ROBUSTNESS

    for option, name in (("--x", x), ("--y", y)):
        if dev and name is not None and not name.startswith("dev/"):
            raise ConfigError(f"--dev {option} {name}: not a dev metric; say dev/{name}, or leave --dev out")
    defaults = DEV if dev else (EFFECTIVENESS, ROBUSTNESS)
    return x or defaults[0], y or defaults[1]


def purpose(record: Frontier, out: Path) -> str:
    """One line on what the frontier is for."""
    if record.steers:
        return f"for training: strategy=pareto strategy.frontier={out}"
    return "for reporting, it is drawn in test metrics; for training: python -m sweeps frontier --dev"


def _corner(text: str | None) -> tuple[float, float] | None:
    from retrieval.errors import ConfigError

    corner = None if text is None else shared.two_numbers(text)
    if text is not None and corner is None:
        raise ConfigError(f"--reference {text}: expected two numbers, such as 5.549,5.549")
    return corner


def describe(record: Frontier) -> list[str]:
    """Lines for the terminal: the frontier, the knee, what it means for ω, every warning."""
    from sweeps.fitting.present import describe_warnings

    front = record.front
    lines = [f"{len(front.best)} of {len(front.points)} configurations are non-dominated:"]
    for point in front.best:
        chance = point.probability_non_dominated
        sure = "" if chance is None else f"   P(non-dominated) {chance:.2f}"
        lines.append(f"  {point.configuration:40} {point.x:9.4f} {point.y:9.4f}{sure}")
    knee, area = front.knee, front.hypervolume
    lines.append(f"knee ({knee.rule}): {knee.configuration}, {knee.x:.4f}, {knee.y:.4f}")
    if front.rho is not None:
        lines.append(f"ρ* = R*/E* = {front.rho:.4f}, ω₀ = R*/(E*+R*) = {front.omega_0:.4f}")
    ends = "" if area.interval is None else f" [{area.interval[0]:.4g}, {area.interval[1]:.4g}]"
    lines.append(f"hypervolume {area.value:.4g}{ends}, reference {area.reference}")
    return lines + describe_warnings(record.warnings)

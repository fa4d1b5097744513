"""``python -m sweeps frontier``: the Pareto frontier and the point that Pareto training aims at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sweeps.commands.options import RunsOption, TableOption, WandbOption, WhereOption, load


def run(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.", metavar="FILE")] = Path(
        "frontier.json"
    ),
    x: Annotated[str, typer.Option("--x", help="First objective.")] = "eff/contrastive_entropy",
    y: Annotated[str, typer.Option("--y", help="Second objective.")] = "ood/contrastive_entropy",
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
    runs: RunsOption = Path("runs"),
    table: TableOption = None,
    wandb: WandbOption = None,
    where: WhereOption = None,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=0, help="Bootstrap replicates.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 0,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Level of intervals.")] = 0.95,
) -> None:
    """Find the non-dominated runs; the file is what strategy=pareto strategy.frontier=FILE reads."""
    from retrieval.files import write_json
    from sweeps.frontier import FrontierOptions, frontier

    options = FrontierOptions(
        x=x,
        y=y,
        by=tuple(name.strip() for name in by.split(",") if name.strip()),
        knee=knee,
        reference=_corner(reference),
        replicates=bootstrap,
        seed=seed,
        level=level,
    )
    record = frontier(load(runs, table, wandb, where), options)
    write_json(out, record)
    for line in describe(record):
        typer.echo(line)
    typer.echo(f"wrote {out}")


def _corner(text: str | None) -> tuple[float, float] | None:
    from retrieval.errors import ConfigError

    if text is None:
        return None
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise ConfigError(f"--reference {text}: expected two numbers, such as 5.549,5.549") from None
    return x, y


def describe(record: dict[str, Any]) -> list[str]:
    """Lines for the terminal: the frontier, the knee, what it means for ω, every warning."""
    front = [point for point in record["points"] if point["non_dominated"]]
    lines = [f"{len(front)} of {len(record['points'])} configurations are non-dominated:"]
    for point in sorted(front, key=lambda point: point["x"]):
        chance = point["probability_non_dominated"]
        sure = "" if chance is None else f"   P(non-dominated) {chance:.2f}"
        lines.append(f"  {point['configuration']:40} {point['x']:9.4f} {point['y']:9.4f}{sure}")
    knee = record["knee"]
    lines.append(f"knee ({knee['rule']}): {knee['configuration']}, {knee['x']:.4f}, {knee['y']:.4f}")
    if record["rho"] is not None:
        lines.append(f"ρ* = R*/E* = {record['rho']:.4f}, ω₀ = R*/(E*+R*) = {record['omega_0']:.4f}")
    area = record["hypervolume"]
    ends = "" if area["interval"] is None else f" [{area['interval'][0]:.4g}, {area['interval'][1]:.4g}]"
    lines.append(f"hypervolume {area['value']:.4g}{ends}, reference {area['reference']}")
    for warning in record["warnings"]:
        lines.append(f"{warning['severity']} {warning['code']}: {warning['message']}")
        lines.append(f"    → {warning['action']}")
    return lines

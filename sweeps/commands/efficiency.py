"""``python -m sweeps efficiency``: how many times as much the baseline needs to match a strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sweeps.commands.options import (
    RunsOption,
    TableOption,
    WandbOption,
    WhereOption,
    load,
    progress_bar,
)


def run(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.", metavar="FILE")] = Path(
        "efficiency.json"
    ),
    baseline: Annotated[str, typer.Option("--baseline", help="Strategy to compare with.")] = "standard",
    strategy: Annotated[
        str, typer.Option("--strategy", help="Strategy to judge, as named in the report (fixed ω=0.25).")
    ] = "pareto",
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Metric to match; repeatable. Default: eff and ood.")
    ] = None,
    law: Annotated[
        str, typer.Option("--law", help="joint, additive, single (a law a slice) or auto.")
    ] = "auto",
    runs: RunsOption = Path("runs"),
    table: TableOption = None,
    wandb: WandbOption = None,
    where: WhereOption = None,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Level of intervals.")] = 0.95,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=0, help="Paired bootstrap draws.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the bootstrap.")] = 0,
) -> None:
    """Multipliers on N, D and FLOPs, for each metric and for all of them together."""
    from retrieval.files import write_json
    from sweeps.efficiency import EfficiencyOptions, efficiency
    from sweeps.result import FitOptions

    fit = FitOptions(level=level, bootstrap=bootstrap, seed=seed)
    options = EfficiencyOptions(law=law, fit=fit)
    if metric:
        options = EfficiencyOptions(metrics=tuple(metric), law=law, fit=fit)
    frame = load(runs, table, wandb, where)
    with progress_bar("paired bootstrap") as step:
        record = efficiency(frame, baseline, strategy, options, step)
    write_json(out, record)
    for line in describe(record):
        typer.echo(line)
    typer.echo(f"wrote {out}")


def describe(record: dict[str, Any]) -> list[str]:
    """Lines for the terminal: the multipliers at the largest scale, what is refused, every warning."""
    names = [*record["metrics"], "joint"]
    percent = f"{100 * record['level']:g} %"
    lines = [f"{record['baseline']} needs so many times as much to match {record['strategy']} ({percent}):"]
    for resource, head in record["headline"].items():
        lines.append(f"  {resource} = {head['scale']:.4g}, {head['at']['name']}")
        lines += [f"    {name:28} {multiplier(head[name])}" for name in names]
    lines += [f"  {resource}: not computed: {reason}" for resource, reason in record["refused"].items()]
    for warning in record["warnings"]:
        lines.append(f"{warning['severity']} {warning['code']}: {warning['message']}")
        lines.append(f"    → {warning['action']}")
    return lines


def multiplier(head: dict[str, Any]) -> str:
    """``2.5× [2.1, 3.0]``; unbounded values in words."""

    def text(value: float | str) -> str:
        return value if isinstance(value, str) else f"{value:.3g}"

    one = text(head["multiplier"])
    one += "" if one == "unbounded" else "×"
    return one if head["low"] is None else f"{one} [{text(head['low'])}, {text(head['high'])}]"

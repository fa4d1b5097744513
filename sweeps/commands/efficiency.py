"""``python -m sweeps efficiency``: how many times as much the baseline needs to match a strategy."""

from __future__ import annotations  # the help names the laws that are known when it is asked for

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared
from sweeps.fitting.laws import plain_names


def _law_help() -> str:
    names = ", ".join(plain_names({"N", "D"}))
    return (
        f"Where the baseline's curve comes from: interpolated (as measured), {names}, "
        "single (a law a slice), or auto (joint where there are runs enough)."
    )


def run(
    out: shared.JsonOption = Path("efficiency.json"),
    baseline: Annotated[str, typer.Option("--baseline", help="Strategy to compare with.")] = "standard",
    strategy: Annotated[
        str, typer.Option("--strategy", help="Strategy to judge, as named in the report (fixed ω=0.25).")
    ] = "pareto",
    metric: Annotated[
        list[str] | None, typer.Option("--metric", help="Metric to match; repeatable. Default: eff and ood.")
    ] = None,
    law: Annotated[str, typer.Option("--law", help=_law_help())] = "auto",
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    level: shared.LevelOption = 0.95,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=0, help="Paired bootstrap draws.")] = 1000,
    seed: shared.SeedOption = 0,
) -> None:
    """How many times as much N, D or FLOPs the baseline needs to be as good as the strategy.

    A multiplier of 4 on D at 7,000 pairs: the strategy trained on 7,000 pairs is as good as the baseline
    trained on 28,000. Each metric has a multiplier of its own. "To match both" is the larger of them: what
    the baseline needs to be as good in both. "In each" is the smaller: it needs at least that in each.

    --law interpolated reads the multiplier off the baseline's measured means, joined by lines, with intervals
    from a paired bootstrap over seeds. Prefer it for claims: it assumes no law, and says "> 3×" where the
    strategy is better than anything the baseline was run with. The other laws smooth over noise and reach
    beyond the runs, and are as good as their fit: see python -m sweeps fit.

    Example: python -m sweeps efficiency --law interpolated --baseline standard --strategy pareto
    """
    from sweeps.efficiency import EfficiencyOptions, efficiency
    from sweeps.efficiency.multipliers import describe
    from sweeps.fitting.result import FitOptions

    metrics = tuple(metric or EfficiencyOptions.metrics)
    fit = FitOptions(level=level, bootstrap=bootstrap, seed=seed)
    options = EfficiencyOptions(metrics, law, fit=fit)
    frame, source = shared.load(runs, table, wandb, where)
    with shared.progress_bar("paired bootstrap") as step:
        record = efficiency(frame, baseline, strategy, options, step)
    shared.write(out, replace(record, source=source), describe(record))

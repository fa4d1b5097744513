"""``python -m sweeps families``: model families at equal N, D and FLOPs, their exponents and frontiers."""

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
        f"Law of every family: {names}, single (a law in N and one in D), or auto (joint where sizes and "
        "data allow)."
    )


def run(
    out: shared.JsonOption = Path("families.json"),
    eff: Annotated[str, typer.Option("--eff", help="Effectiveness.")] = "eff/contrastive_entropy",
    rob: Annotated[str, typer.Option("--rob", help="Robustness.")] = "ood/contrastive_entropy",
    strategy: Annotated[
        list[str] | None,
        typer.Option("--strategy", help="Label of a strategy; repeatable. Default: all in two families."),
    ] = None,
    law: Annotated[str, typer.Option("--law", help=_law_help())] = "auto",
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, max=0.5, help="Sizes this close, relatively, are equal.")
    ] = 0.05,
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    level: shared.LevelOption = 0.95,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=0, help="Bootstrap replicates.")] = 500,
    seed: shared.SeedOption = 0,
) -> None:
    """Compare model families: exponents, values at equal N, D and FLOPs, and frontiers.

    A law is fitted within each family, never across. Exponents are tested against each other by a bootstrap
    over configurations. Values are compared seed by seed where both families were run at one N and D; where
    only one of them is equal, and at equal training FLOPs, between measured points. Nothing is extrapolated.

    Every family gets a frontier with one reference point: its knee, ρ* = R*/E*, the slope there and the
    hypervolume. `python -m sweeps compare --by model_family,model,frac` holds two strategies against each
    other within each family.

    Example: python -m sweeps families --strategy standard --out families.json
    """
    from sweeps.comparison.families import FamiliesOptions, families
    from sweeps.comparison.families.present import describe
    from sweeps.fitting.result import FitOptions

    fit = FitOptions(level=level, bootstrap=bootstrap, seed=seed)
    options = FamiliesOptions((eff, rob), tuple(strategy or ()), law, tolerance, fit)
    frame, source = shared.load(runs, table, wandb, where)
    with shared.progress_bar("laws") as step:
        record = families(frame, options, step)
    shared.write(out, replace(record, source=source), describe(record))

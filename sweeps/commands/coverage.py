"""``python -m sweeps coverage``: how often the intervals of a planned sweep would hold the truth."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from retrieval.run.storage import writable_file


def run(
    law: Annotated[
        str, typer.Option("--published", help="A published law, see docs/fitting.md.")
    ] = "fang2024-msmarco-joint",
    sizes: Annotated[int, typer.Option("--sizes", min=2, help="Number of model sizes.")] = 5,
    fractions: Annotated[int, typer.Option("--fractions", min=1, help="Number of data sizes.")] = 5,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Seeds a configuration.")] = 3,
    size_range: Annotated[str, typer.Option("--size-range", help="Smallest,largest N.")] = "4e5,8.6e7",
    pairs_range: Annotated[str, typer.Option("--pairs-range", help="Smallest,largest D.")] = "2e4,5e5",
    configuration_sd: Annotated[
        float, typer.Option("--configuration-sd", min=0, help="Scatter of ln metric between configurations.")
    ] = 0.03,
    seed_sd: Annotated[float, typer.Option("--seed-sd", min=0, help="Scatter between seeds.")] = 0.01,
    simulations: Annotated[int, typer.Option("--simulations", min=1, help="Simulated sweeps.")] = 200,
    draws: Annotated[int, typer.Option("--bootstrap", min=0, help="Bootstrap draws; 0 skips it.")] = 400,
    processes: Annotated[int, typer.Option("--processes", min=1)] = os.cpu_count() or 1,
    seed: Annotated[int, typer.Option("--seed")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", help="CSV file to write.", metavar="FILE", callback=writable_file)
    ] = None,
) -> None:
    """Simulate sweeps from a known law and count how often each kind of interval holds the truth."""
    from retrieval.errors import ConfigError
    from sweeps.fitting.coverage import METHODS, coverage, crossed
    from sweeps.fitting.laws import PUBLISHED
    from sweeps.table.runs import write_table

    if law not in PUBLISHED:
        raise ConfigError(f"--published {law} is not known; choose one of {', '.join(PUBLISHED)}")
    design = crossed(law, sizes, fractions, seeds, size_range, pairs_range, configuration_sd, seed_sd)
    methods = [method for method in METHODS if draws or not method.startswith("bootstrap")]
    shares = coverage(design, simulations, methods, draws, processes, seed)
    typer.echo(f"{simulations} simulated sweeps of {law}: share of 95 % intervals that hold the truth")
    typer.echo(shares.to_string(float_format="{:.3f}".format))
    if out is not None:
        write_table(shares.rename_axis("interval").reset_index(), out)
        typer.echo(f"wrote {out}")

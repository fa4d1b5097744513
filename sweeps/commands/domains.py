"""``python -m sweeps domains``: which robust-training domain helps which test domain."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from sweeps.commands import options as shared


def run(
    strategy: Annotated[str, typer.Option("--strategy", help="Label of the strategy.")] = "pareto",
    baseline: Annotated[
        str, typer.Option("--baseline", help="Label of what it is compared with.")
    ] = "standard",
    metric: Annotated[str, typer.Option("--metric", help="Metric by domain.")] = "contrastive_entropy",
    out: shared.JsonOption = Path("domains.json"),
    figures: Annotated[Path | None, shared.folder("--figures", "Folder for the matrix as a figure.")] = None,
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    level: shared.LevelOption = 0.95,
) -> None:
    """Which robust-training domain helps which test domain, as a matrix.

    A row is what the strategy was trained on beside in-domain pairs (data.robust), a column a test domain.
    An entry is strategy less baseline, paired by seed, so negative is better for contrastive entropy. Its
    interval is the t interval over seeds. Sweep data.robust with a fixed ω, so that rows differ in the data
    alone.

    Example: python -m sweeps domains --strategy "fixed ω=0.5" --where frac=0.1
    """
    from sweeps.comparison.domains import describe, domains
    from sweeps.report.figures.domains import domains_panel
    from sweeps.report.figures.style import save

    frame, source = shared.load(runs, table, wandb, where)
    found = domains(frame, baseline, strategy, metric, level)
    shared.write(out, replace(found, source=source), describe(found))
    if figures is not None:
        figures.mkdir(parents=True, exist_ok=True)
        save(domains_panel(found), figures)
        typer.echo(f"wrote {figures}/domains.svg, .pdf and .png")

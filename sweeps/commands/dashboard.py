"""``python -m sweeps dashboard``: the report's figures on the W&B server."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from sweeps.commands import options as shared


def run(
    wandb: Annotated[
        str, typer.Option("--wandb", help="Project that the runs were logged to.", metavar="ENTITY/PROJECT")
    ],
    kind: Annotated[
        Literal["workspace", "report"], typer.Option("--kind", help="A view of the project, or a page.")
    ] = "workspace",
    title: Annotated[str, typer.Option("--title", help="Its name.")] = "Scaling and robustness",
    runs: Annotated[
        Path | None,
        typer.Option("--runs", help="Run folders whose conclusions to add as text.", metavar="DIR"),
    ] = None,
) -> None:
    """Build a W&B workspace or report; needs the package's extra 'dashboards' and an API key."""
    from sweeps.report.build import analyse
    from sweeps.report.dashboard import publish, require_package, split_path
    from sweeps.report.summary import lead

    split_path(wandb)
    require_package()
    conclusions: list[str] = []
    if runs is not None:
        found = analyse(shared.collect(runs, tell=False).frame, None)
        conclusions = lead(found.runs, found.curves, found.records, found.findings)
    typer.echo(publish(kind, wandb, title, conclusions))

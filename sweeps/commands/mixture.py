"""``python -m sweeps mixture``: how E and R depend on ω, and the best ω at sizes that were not run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from retrieval.run.storage import writable_folder
from sweeps.commands.options import (
    JsonOption,
    LevelOption,
    RunsOption,
    SeedOption,
    TableOption,
    WandbOption,
    WhereOption,
    load,
)

if TYPE_CHECKING:
    from sweeps.mixture.record import Mixture


def run(
    out: JsonOption = Path("mixture.json"),
    eff: Annotated[
        str, typer.Option("--eff", help="Effectiveness; a dev metric if training is to read the file.")
    ] = "dev/eff/contrastive_entropy",
    rob: Annotated[
        str, typer.Option("--rob", help="Robustness; a dev metric if training is to read the file.")
    ] = "dev/ood/contrastive_entropy",
    by: Annotated[str, typer.Option("--by", help="Columns whose values make a cell.")] = "model,frac",
    form: Annotated[
        list[str] | None,
        typer.Option("--form", help="Candidate form; repeatable. Default: all, the best is chosen."),
    ] = None,
    predict: Annotated[
        list[str] | None, typer.Option("--predict", help="Also predict ω* at N,D; repeatable.", metavar="N,D")
    ] = None,
    runs: RunsOption = Path("runs"),
    table: TableOption = None,
    wandb: WandbOption = None,
    where: WhereOption = None,
    loss: Annotated[
        Literal["huber", "least-squares"], typer.Option("--loss", help="Loss of ln residuals.")
    ] = "huber",
    level: LevelOption = 0.95,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=20, help="Bootstrap draws.")] = 500,
    seed: SeedOption = 0,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", help="Folder for the figures.", metavar="DIR", callback=writable_folder),
    ] = None,
) -> None:
    """Fit mixture laws over fixed-ω runs; the file is what strategy.rule=law strategy.mixture=FILE reads."""
    from retrieval.run.files import write_json
    from sweeps.fitting.result import FitOptions
    from sweeps.mixture.fit import fit_mixture
    from sweeps.mixture.present import describe
    from sweeps.mixture.recorded import mixture_record
    from sweeps.mixture.result import MixtureOptions
    from sweeps.table.source import Source

    options = MixtureOptions(
        eff,
        rob,
        tuple(name.strip() for name in by.split(",") if name.strip()),
        tuple(form or []),
        FitOptions(loss=loss, starts=50, level=level, bootstrap=bootstrap, seed=seed),
    )
    points = [_point(text) for text in predict or []]
    frame = load(runs, table, wandb, where)
    record = mixture_record(fit_mixture(frame, options), points, Source.of(frame, where or ()))
    write_json(out, record.to_json())
    for line in describe(record):
        typer.echo(line)
    if figures is not None:
        _draw(record, figures)
    typer.echo(f"wrote {out}")


def _point(text: str) -> tuple[float, float]:
    from retrieval.errors import ConfigError

    try:
        n, d = (float(part) for part in text.split(","))
    except ValueError:
        n = d = 0.0
    if not (0 < n < float("inf") and 0 < d < float("inf")):
        raise ConfigError(f"--predict {text}: expected two positive numbers N,D, such as 85054464,500000")
    return n, d


def _draw(record: Mixture, folder: Path) -> None:
    from sweeps.report.figures.mixture import mixture_panels
    from sweeps.report.figures.style import save

    folder.mkdir(parents=True, exist_ok=True)
    for panel in mixture_panels(record):
        save(panel, folder)
        typer.echo(f"wrote {folder / panel.name}.svg, .pdf, .png")

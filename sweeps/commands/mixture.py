"""``python -m sweeps mixture``: how E and R depend on ω, and the best ω at sizes that were not run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeps.commands import options as shared

if TYPE_CHECKING:
    from sweeps.mixture.record import Mixture


def run(
    out: shared.JsonOption = Path("mixture.json"),
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
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    loss: Annotated[
        Literal["huber", "least-squares"], typer.Option("--loss", help="Loss of ln residuals.")
    ] = "huber",
    level: shared.LevelOption = 0.95,
    bootstrap: Annotated[int, typer.Option("--bootstrap", min=20, help="Bootstrap draws.")] = 500,
    seed: shared.SeedOption = 0,
    figures: Annotated[Path | None, shared.folder("--figures", "Folder for the figures.")] = None,
) -> None:
    """Fit mixture laws over fixed-ω runs; the file is what strategy.rule=law strategy.mixture=FILE reads."""
    from sweeps.fitting.result import FitOptions
    from sweeps.mixture.checks import describe
    from sweeps.mixture.fit import MixtureOptions, fit_mixture

    fit = FitOptions(loss=loss, starts=50, level=level, bootstrap=bootstrap, seed=seed)
    options = MixtureOptions(eff, rob, shared.names(by), tuple(form or []), fit)
    points = [shared.sizes(text) for text in predict or []]
    frame, source = shared.load(runs, table, wandb, where)
    record = fit_mixture(frame, options, points)
    drawn = _draw(record, figures) if figures is not None else ()
    shared.write(out, replace(record, source=source), chain(describe(record), drawn))


def _draw(record: Mixture, folder: Path) -> Iterator[str]:
    from sweeps.report.figures.omega import mixture_panels
    from sweeps.report.figures.style import save

    folder.mkdir(parents=True, exist_ok=True)
    for panel in mixture_panels(record):
        save(panel, folder)
        yield f"wrote {folder / panel.name}.svg, .pdf, .png"

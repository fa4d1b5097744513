"""``python -m sweeps compare``: two strategies seed by seed in every cell, and the regret of a rule of ω."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sweeps.commands import options as shared

if TYPE_CHECKING:
    from sweeps.comparison.record import Comparison

MetricOption = Annotated[
    list[str] | None, typer.Option("--metric", help="Metric to compare; repeatable. Default: eff and ood.")
]
RegretOption = Annotated[
    bool, typer.Option("--regret", help="Also the regret against the best fixed ω of each cell.")
]


def run(
    baseline: Annotated[
        str,
        typer.Option("--baseline", help="Label of the strategy to compare with, or best-fixed."),
    ] = "standard",
    strategy: Annotated[str, typer.Option("--strategy", help="Label of the strategy to judge.")] = "pareto",
    metric: MetricOption = None,
    by: Annotated[
        str, typer.Option("--by", help="Columns whose values make a cell; '' for one cell of all runs.")
    ] = "model,frac",
    regret: RegretOption = False,
    out: shared.JsonOption = Path("compare.json"),
    runs: shared.RunsOption = Path("runs"),
    table: shared.TableOption = None,
    wandb: shared.WandbOption = None,
    where: shared.WhereOption = None,
    level: shared.LevelOption = 0.95,
) -> None:
    """Compare a strategy with a baseline in every cell, seed by seed.

    The difference is strategy less baseline, so negative is better for contrastive entropy. Its interval is
    the t interval over the differences of the seeds that both were run with; p values are corrected over the
    cells by Holm's method. The mean over the metrics is in nats. Cells with one seed get no interval.

    Labels are those of the report: standard, pooled, pareto, "pareto dev", "fixed ω=0.25".

    --baseline best-fixed takes, in each cell, the fixed ω with the best dev metrics (standard is ω = 0).
    --regret tells whether a rule of ω is better than any ω kept everywhere: its worst loss against the best
    fixed ω of each cell, beside that of every single ω.

    Example: python -m sweeps compare --baseline best-fixed --strategy "pareto dev" --regret
    """
    from sweeps.comparison import CompareOptions, compare
    from sweeps.table.source import Source

    metrics = tuple(metric or CompareOptions.metrics)
    options = CompareOptions(metrics, shared.names(by), level, regret)
    frame = shared.load(runs, table, wandb, where)
    record = compare(frame, baseline, strategy, options, Source.of(frame, where or ()))
    shared.write(out, record, describe(record))


def describe(record: Comparison) -> list[str]:
    """Lines for the terminal: every cell, in how many which side is better, regrets, every warning."""
    from sweeps.comparison.present import judged, regret_rows, verdict
    from sweeps.fitting.present import aligned, describe_warnings

    names = list(record.counts)
    lines = [
        f"{record.strategy} less {record.baseline}: mean difference over seeds, "
        f"{100 * record.level:g} % interval, p ({record.correction}), * decided"
    ]
    chosen = any(cell.baseline != record.baseline for cell in record.cells)
    heading = ["cell", *(["baseline"] if chosen else []), "pairs", *names]
    rows = [heading]
    for cell in record.cells:
        words = [cell.name, *([cell.baseline] if chosen else []), str(cell.by[names[0]].n)]
        rows.append([*words, *(judged(cell.by[name]) for name in names)])
    lines += aligned(rows, left=len(heading) - len(names) - 1)
    for name, count in record.counts.items():
        lines.append(
            f"{name}: better in {count.strategy} of {len(record.cells)} cells, worse in "
            f"{count.baseline}, undecided in {count.undecided}"
        )
    regret = record.regret
    for name, ways in regret.by.items() if regret else ():
        assert regret is not None
        cells = len(regret.cells)
        lines.append(f"regret in {name} against the best fixed ω of each of {cells} cells:")
        lines += aligned(regret_rows(regret, name), left=1)
        lines += [f"  {verdict(record.strategy, words, way)}" for words, way in ways.known(name).items()]
    return lines + describe_warnings(record.warnings)

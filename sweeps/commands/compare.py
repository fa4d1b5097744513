"""``python -m sweeps compare``: two strategies seed by seed in every cell, and the regret of a rule of ω."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sweeps.commands.options import JsonOption, RunsOption, TableOption, WandbOption, WhereOption, load

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
    out: JsonOption = Path("compare.json"),
    runs: RunsOption = Path("runs"),
    table: TableOption = None,
    wandb: WandbOption = None,
    where: WhereOption = None,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Level of intervals.")] = 0.95,
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
    from retrieval.run.files import write_json
    from sweeps.comparison import CompareOptions, compare

    options = CompareOptions(
        by=tuple(name.strip() for name in by.split(",") if name.strip()), level=level, regret=regret
    )
    if metric:
        options = CompareOptions(tuple(metric), options.by, level, regret)
    record = compare(load(runs, table, wandb, where), baseline, strategy, options)
    write_json(out, record)
    for line in describe(record):
        typer.echo(line)
    typer.echo(f"wrote {out}")


def describe(record: dict[str, Any]) -> list[str]:
    """Lines for the terminal: every cell, in how many which side is better, regrets, every warning."""
    from sweeps.fitting.present import aligned, describe_warnings

    names = list(record["counts"])
    lines = [
        f"{record['strategy']} less {record['baseline']}: mean difference over seeds, "
        f"{100 * record['level']:g} % interval, p ({record['correction']}), * decided"
    ]
    chosen = any(cell["baseline"] != record["baseline"] for cell in record["cells"])
    heading = ["cell", *(["baseline"] if chosen else []), "pairs", *names]
    rows = [heading]
    for cell in record["cells"]:
        pairs = cell["by"][names[0]]["n"]
        words = [cell["name"], *([cell["baseline"]] if chosen else []), str(pairs)]
        rows.append([*words, *(_entry(cell["by"][name]) for name in names)])
    lines += aligned(rows, left=len(heading) - len(names) - 1)
    for name, count in record["counts"].items():
        lines.append(
            f"{name}: better in {count['strategy']} of {len(record['cells'])} cells, worse in "
            f"{count['baseline']}, undecided in {count['undecided']}"
        )
    lines += _regret_lines(record)
    return lines + describe_warnings(record["warnings"])


def _entry(entry: dict[str, Any]) -> str:
    """``-0.123 [-0.150, -0.096] p=.002*``; without seeds enough the difference alone."""
    text = f"{entry['difference']:+.4f}"
    if entry["low"] is None:
        return text
    mark = "*" if entry["better"] else " "
    return f"{text} [{entry['low']:+.4f}, {entry['high']:+.4f}] p={entry['p_holm']:.3f}{mark}"


def _regret_lines(record: dict[str, Any]) -> list[str]:
    """The worst and the mean regret of every policy, the best chosen in both ways, and the verdict."""
    from sweeps.fitting.present import aligned

    if record["regret"] is None:
        return []
    omegas, lines = record["regret"]["candidates"], []
    for name, ways in record["regret"]["by"].items():
        known = {way: found for way, found in ways.items() if found is not None}
        cells = len(record["regret"]["cells"])
        lines.append(f"regret in {name} against the best fixed ω of each of {cells} cells:")
        words = {"reported": f"chosen by {name}", "dev": "chosen on dev"}
        rows = [["", *(part for way in known for part in (f"worst, {words[way]}", "mean"))]]
        labels = list(next(iter(known.values()))["policies"]) if known else []
        for label in labels:
            row = [f"{label} (ω = 0)" if label == "standard" and label in omegas else label]
            for found in known.values():
                policy = found["policies"][label]
                where = f" ({policy['worst_cell']})" if policy["worst_cell"] else ""
                row += [_nats(policy["worst"]) + where, _nats(policy["mean"])]
            rows.append(row)
        lines += aligned(rows, left=1)
        lines += [_verdict(record["strategy"], found["verdict"], words[way]) for way, found in known.items()]
    return lines


def _verdict(strategy: str, verdict: dict[str, Any], words: str) -> str:
    if verdict["better_than_any_single"] is None:
        return f"  {words}: no single ω was run in all cells, so there is nothing to hold {strategy} against"
    than = "below" if verdict["better_than_any_single"] else "not below"
    least = f"{verdict['best_single']}, {_nats(verdict['best_single_worst'])}"
    own = _nats(verdict["strategy_worst"])
    return f"  {words}: worst regret of {strategy} {own}, {than} that of every single ω (least: {least})"


def _nats(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"

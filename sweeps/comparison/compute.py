"""A strategy against a baseline in every cell, seed by seed.

In a cell (a model and a fraction of the data, unless ``by`` says otherwise) runs of one seed form a pair. The
mean difference, its t interval over seeds and the p value of no difference are given for every metric and for
the mean over the metrics; p values are corrected over the cells by Holm's method, each metric by itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from retrieval.errors import ConfigError, DataError
from retrieval.run.metric_names import larger_is_better
from sweeps.comparison.cells import MEAN, ON_DEV, Cell, cells, comparable, fixed_omegas
from sweeps.comparison.paired import difference, holm
from sweeps.comparison.record import Comparison, Count, Judged, Line, Regret, Seeds
from sweeps.comparison.regret import regrets
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.errors import missing_column
from sweeps.fitting.configurations import label_runs
from sweeps.frontier.trace import DEV, EFFECTIVENESS, ROBUSTNESS
from sweeps.table.source import Source

BEST_FIXED = "best-fixed"
"""The baseline that is, in each cell, the fixed ω with the best dev metrics."""


@dataclass(frozen=True)
class CompareOptions:
    """What is compared and how; all of it is written to ``compare.json``."""

    metrics: tuple[str, ...] = (EFFECTIVENESS, ROBUSTNESS)
    by: tuple[str, ...] = ("model", "frac")
    level: float = 0.95
    regret: bool = False


def compare(
    runs: pd.DataFrame,
    baseline: str,
    strategy: str,
    options: CompareOptions | None = None,
    source: Source | None = None,
) -> Comparison:
    """Compare two strategies as the record written to ``compare.json``.

    Args:
        runs: one row a run with the columns of ``result.json``.
        baseline: a label as :func:`sweeps.fitting.configurations.label_runs` gives them, or ``best-fixed``.
        strategy: a label.
        options, source: what is compared, and where the runs come from, for the record.

    Raises ConfigError: unknown label or column of cells; DataError: no cell has both; TableError: unknown
    metric, or no dev metrics to choose ω by.
    """
    options = options or CompareOptions()
    labelled = label_runs(runs)
    _check(labelled, baseline, strategy, options)
    found = cells(labelled, options.metrics, options.by)
    fixed = fixed_omegas(labelled)
    pairs = _pairs(found, baseline, strategy, fixed, options)
    names = [*options.metrics, *([MEAN] if comparable(options.metrics) else [])]
    lines = _corrected(
        [_line(cell, chosen, strategy, options, fixed) for cell, chosen in pairs], names, options.level
    )
    regret = regrets(found, strategy, fixed, names, options.level) if options.regret else None
    return Comparison(
        baseline=baseline,
        strategy=strategy,
        metrics=list(options.metrics),
        by=list(options.by),
        level=options.level,
        chosen_on=list(DEV) if baseline == BEST_FIXED else None,
        correction=f"Holm over {len(lines)} cells, each metric by itself",
        cells=lines,
        counts={name: _count(lines, name) for name in names},
        regret=regret,
        warnings=[*_warnings(found, pairs, lines, strategy), *_limits(options.metrics, regret)],
        source=source,
    )


def _check(labelled: pd.DataFrame, baseline: str, strategy: str, options: CompareOptions) -> None:
    known = sorted(labelled["label"].unique())
    if strategy not in known:
        raise ConfigError(f"--strategy {strategy}: no such runs; the table has {', '.join(known)}")
    if baseline not in (*known, BEST_FIXED):
        raise ConfigError(
            f"--baseline {baseline}: no such runs; the table has {', '.join(known)}, or say {BEST_FIXED}"
        )
    if baseline == strategy:
        raise ConfigError(f"--baseline and --strategy are both {baseline}; name two strategies")
    for metric in options.metrics:
        if metric not in labelled:
            raise missing_column(metric, labelled.columns)
    if (baseline == BEST_FIXED or options.regret) and not fixed_omegas(labelled):
        raise ConfigError(
            "no run keeps ω: add some with strategy=pareto strategy.rule=fixed strategy.omega=0.25,0.5"
        )
    lacking = [metric for metric in DEV if metric not in labelled]
    if baseline == BEST_FIXED and lacking:
        raise ConfigError(
            f"--baseline {BEST_FIXED} chooses ω on dev metrics, and the table lacks {lacking[0]}: "
            "measure it (data.robust_dev), or name a baseline"
        )


def _pairs(
    found: Sequence[Cell], baseline: str, strategy: str, fixed: dict[str, float], options: CompareOptions
) -> list[tuple[Cell, str]]:
    """Cells with both sides, and the baseline's label in each; DataError where there is none."""
    pairs = []
    for cell in found:
        chosen = cell.best(list(fixed), ON_DEV) if baseline == BEST_FIXED else baseline
        if chosen in cell.values and strategy in cell.values:
            pairs.append((cell, str(chosen)))
    if not pairs:
        where = ", ".join(options.by) or "all runs"
        raise DataError(f"no cell of {where} has both {baseline} and {strategy}; run both in one cell")
    return pairs


def _line(cell: Cell, chosen: str, strategy: str, options: CompareOptions, fixed: dict[str, float]) -> Line:
    """One cell of the record, p values not yet corrected."""
    first, second = cell.values[chosen], cell.values[strategy]
    shared = first.index.intersection(second.index)
    names = first.columns.drop(ON_DEV, errors="ignore")
    by = {name: difference(first[name], second[name], options.level) for name in names}
    alone = (side.index.difference(shared).tolist() for side in (first, second))
    return Line(cell.where, cell.name, chosen, fixed.get(chosen), Seeds(shared.tolist(), *alone), by)


def _corrected(lines: Sequence[Line], names: Sequence[str], level: float) -> list[Line]:
    """The cells with ``p_holm`` and ``better``."""
    corrected = {name: holm([line.by[name].p for line in lines]) for name in names}
    return [
        replace(
            line, by={name: _decided(line.by[name], corrected[name][place], name, level) for name in names}
        )
        for place, line in enumerate(lines)
    ]


def _decided(found: Judged, p: float | None, name: str, level: float) -> Judged:
    if p is None or p >= 1 - level:
        return replace(found, p_holm=p)
    risen = found.difference > 0
    return replace(found, p_holm=p, better="strategy" if risen == larger_is_better(name) else "baseline")


def _count(lines: Sequence[Line], name: str) -> Count:
    found = Counter(line.by[name].better or "undecided" for line in lines)
    return Count(found["strategy"], found["baseline"], found["undecided"])


def _warnings(
    found: Sequence[Cell],
    pairs: Sequence[tuple[Cell, str]],
    lines: Sequence[Line],
    strategy: str,
) -> list[Diagnostic]:
    """What is uneven in the cells."""
    alone = [line for line in lines if any(found.method == "none" for found in line.by.values())]
    apart = [line for line in lines if line.seeds.baseline_only or line.seeds.strategy_only]
    lacking = [cell for cell in found if all(cell is not kept for kept, _ in pairs)]
    mixed = [cell for cell, chosen in pairs if {chosen, strategy} & set(cell.repeated)]
    unpaired = "seeds of one side alone are left out, or nothing is paired (method unpaired)"
    cases: list[tuple[str, str, Sequence[Line | Cell]]] = [
        ("SINGLE_SEED", "difference without interval", alone),
        ("SEEDS_NOT_SHARED", unpaired, apart),
        ("CELLS_LEFT_OUT", "one of the two was not run", lacking),
        ("MIXED_SETTINGS", "several runs of one seed, averaged", mixed),
    ]
    return [
        diagnose(code, f"{text}: {'; '.join(one.name for one in where)}")
        for code, text, where in cases
        if where
    ]


def _limits(metrics: Sequence[str], regret: Regret | None) -> Iterator[Diagnostic]:
    """What the record does not hold, and why."""
    if regret is not None and any(ways.dev is None for ways in regret.by.values()):
        text = "no regret against a fixed ω chosen on dev: in some cell no fixed ω has dev metrics"
        yield diagnose("NO_DEV_METRICS", text)
    if not comparable(metrics):
        text = f"{', '.join(metrics)} have no common unit, so no mean over them is given"
        yield diagnose("NO_COMMON_UNIT", text)

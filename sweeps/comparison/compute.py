"""A strategy against a baseline in every cell, seed by seed, and the regret of rules of ω.

In a cell (a model and a fraction of the data, unless ``by`` says otherwise) runs of one seed form a pair. The
mean difference, its t interval over seeds and the p value of no difference are given for every metric and for
the mean over the metrics; p values are corrected over the cells by Holm's method, each metric by itself.

Regret is how much a rule of ω, or one ω kept everywhere, loses to the best fixed ω of each cell, which is
known only after all have been run. A rule is worth having when its worst regret over the cells is below
that of every single ω: then no ω chosen once and for all would have done. The best is chosen twice: by the
metric that is reported (which nobody can do beforehand, so it flatters the best), and on dev metrics (which
is honest).
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError, DataError
from retrieval.run.metric_names import larger_is_better
from sweeps.comparison.cells import (
    MEAN,
    ON_DEV,
    Cell,
    cells,
    comparable,
    complete,
    decided,
    difference,
    fixed_omegas,
    holm,
    without_seed,
)
from sweeps.comparison.changes import changes, ranks
from sweeps.comparison.record import (
    Against,
    CellRegret,
    Comparison,
    Count,
    Line,
    Policy,
    Regret,
    Seeds,
    Verdict,
    Ways,
)
from sweeps.comparison.references import REFERENCES, with_reference
from sweeps.diagnostics import Diagnostic, diagnose, require_columns
from sweeps.fitting.configurations import label_runs, require_labels, with_settings
from sweeps.frontier.trace import DEV, EFFECTIVENESS, ROBUSTNESS


def regrets(
    found: Sequence[Cell], strategy: str, fixed: Mapping[str, float], names: Sequence[str], level: float
) -> Regret:
    """Regret of the label ``strategy`` and of every ``fixed`` ω (label -> ω), for metrics and ``mean``.

    Cells without a fixed ω or without the strategy are left out; ``level`` is that of the intervals.
    """
    usable = [cell for cell in found if strategy in cell.values and set(fixed) & set(cell.values)]
    by = {
        name: Ways(*(_against(usable, strategy, fixed, (name, column), level) for column in (name, ON_DEV)))
        for name in names
    }
    return Regret(dict(fixed), [cell.name for cell in usable], by)


def _against(
    usable: Sequence[Cell], strategy: str, fixed: Mapping[str, float], columns: tuple[str, str], level: float
) -> Against | None:
    """Regrets in the first of ``columns`` against the fixed ω that is best in the second."""
    name, column = columns
    chosen = {cell.name: cell.best(list(fixed), column) for cell in usable}
    best = {where: label for where, label in chosen.items() if label is not None}
    if not usable or len(best) < len(chosen):
        return None
    policies = {
        label: _policy([(cell, best[cell.name]) for cell in usable], label, name, level)
        for label in dict.fromkeys([strategy, *fixed])
    }
    return Against(best, policies, _verdict(policies, strategy, fixed))


def _policy(pairs: Sequence[tuple[Cell, str]], label: str, name: str, level: float) -> Policy:
    cells = {
        cell.name: _regret(cell, best, label, name, level) for cell, best in pairs if label in cell.values
    }
    missing = [cell.name for cell, _ in pairs if label not in cell.values]
    if not cells:
        return Policy(None, None, None, missing, cells)
    worst = max(cells, key=lambda where: cells[where].regret)
    mean = float(np.mean([entry.regret for entry in cells.values()]))
    return Policy(cells[worst].regret, worst, mean, missing, cells)


def _regret(cell: Cell, best: str, label: str, name: str, level: float) -> CellRegret:
    first, second = cell.values[best][name], cell.values[label][name]
    if larger_is_better(name):
        first, second = second, first
    found = difference(first, second, level)
    return CellRegret(found.difference, found.low, found.high, found.n, found.df)


def _verdict(policies: Mapping[str, Policy], strategy: str, fixed: Mapping[str, float]) -> Verdict:
    """Of point estimates; the intervals of the cells say how sure they are."""
    everywhere = {
        label: worst
        for label in fixed
        if label != strategy and not policies[label].missing and (worst := policies[label].worst) is not None
    }
    own = policies[strategy].worst
    if not everywhere or own is None:
        return Verdict(own, None, None, None)
    single = min(everywhere, key=lambda label: everywhere[label])
    return Verdict(own, single, everywhere[single], own < everywhere[single])


BEST_FIXED = "best-fixed"
"""The baseline that is, in each cell, the fixed ω with the best dev metrics."""


@dataclass(frozen=True)
class CompareOptions:
    """What is compared and how; all of it is written to ``compare.json``."""

    metrics: tuple[str, ...] = (EFFECTIVENESS, ROBUSTNESS)
    by: tuple[str, ...] = ("model", "frac")
    level: float = 0.95
    regret: bool = False
    change: str | None = None
    """A column of ``by``: whether the difference changes along it."""
    label_by: tuple[str, ...] = ()
    """Columns whose values follow a label in parentheses, so that a setting can be compared, too."""


def compare(
    runs: pd.DataFrame,
    baseline: str,
    strategy: str | Sequence[str],
    options: CompareOptions | None = None,
) -> Comparison:
    """Compare a strategy, or several, with a baseline as the record written to ``compare.json``.

    Args:
        runs: one row a run with the columns of ``result.json``.
        baseline: a label as :func:`sweeps.fitting.configurations.label_runs` gives them, ``best-fixed``,
            or one of :data:`sweeps.comparison.references.REFERENCES`.
        strategy: a label, or several: then p values are corrected over all cells of all of them.
        options: what is compared.

    Raises ConfigError: unknown label or column of cells, or several strategies where one is needed;
    DataError: no cell has both; TableError: unknown metric, or no dev metrics to choose ω by.
    """
    options = options or CompareOptions()
    labelled = with_settings(label_runs(runs), options.label_by)
    judged = (strategy,) if isinstance(strategy, str) else tuple(dict.fromkeys(strategy))
    _check_number(judged, baseline, options)
    for label in judged:
        _check(labelled, baseline, label, options)
    labelled = with_reference(labelled, baseline, judged[0], options.metrics)
    labelled, left = complete(labelled, options.metrics, options.by)
    found = cells(labelled, options.metrics, options.by)
    fixed = fixed_omegas(labelled)
    pairs = {label: _pairs(found, baseline, label, fixed, options) for label in judged}
    names = [*options.metrics, *([MEAN] if comparable(options.metrics) else [])]
    lines = []
    for label in judged:
        own = [_line(cell, chosen, label, options, fixed) for cell, chosen in pairs[label]]
        if len(judged) > 1:
            own = [replace(line, name=f"{label}: {line.name}", strategy=label) for line in own]
        lines += own
    lines = _corrected(lines, names, options.level)
    regret = regrets(found, judged[0], fixed, names, options.level) if options.regret else None
    column = options.change
    along = None if column is None else (column, ranks(labelled, column))
    moved = None if along is None else changes(pairs[judged[0]], judged[0], along, names, options.level)
    return Comparison(
        baseline=baseline,
        strategy=", ".join(judged),
        metrics=list(options.metrics),
        by=list(options.by),
        level=options.level,
        chosen_on=list(DEV) if baseline == BEST_FIXED else None,
        correction=f"Holm over {len(lines)} cells{_of(judged)}, each metric by itself",
        cells=lines,
        counts={name: _count(lines, name) for name in names},
        regret=regret,
        warnings=[
            *(rows.finding for rows in left),
            *without_seed(labelled),
            *_warnings(found, pairs, lines, options.metrics, regret),
        ],
        changes=moved,
        label_by=list(options.label_by) or None,
    )


def _of(judged: Sequence[str]) -> str:
    return f" of {len(judged)} strategies" if len(judged) > 1 else ""


def _check_number(judged: Sequence[str], baseline: str, options: CompareOptions) -> None:
    """Raise ConfigError where there is no strategy, or several and an option that is about one."""
    if not judged:
        raise ConfigError("--strategy: name at least one strategy")
    if len(judged) > 1:
        given = [("--regret", options.regret), ("--change", options.change is not None)]
        given.append((f"--baseline {baseline}", baseline in REFERENCES))
        for option, used in given:
            if used:
                raise ConfigError(
                    f"{option} takes one --strategy, and {len(judged)} are given; run it for each"
                )


def _check(labelled: pd.DataFrame, baseline: str, strategy: str, options: CompareOptions) -> None:
    require_labels(labelled, baseline, strategy, also=(BEST_FIXED, *REFERENCES))
    require_columns(labelled, *options.metrics)
    if (baseline == BEST_FIXED or options.regret) and not fixed_omegas(labelled):
        raise ConfigError(
            "no run keeps ω: add some with strategy=pareto strategy.rule=fixed strategy.omega=0.25,0.5"
        )
    if options.change is not None and options.change not in options.by:
        known = ", ".join(options.by) or "none"
        raise ConfigError(f"--change {options.change}: not a column of --by; choose among {known}")
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
    found = [dict(line.by) for line in lines]
    for name in names:
        for by, p in zip(found, holm([line.by[name].p for line in lines])):
            by[name] = decided(by[name], name, p, level)
    return [replace(line, by=by) for line, by in zip(lines, found)]


def _count(lines: Sequence[Line], name: str) -> Count:
    found = Counter(line.by[name].better or "undecided" for line in lines)
    return Count(found["strategy"], found["baseline"], found["undecided"])


def _sides(cell: Cell, pairs: Mapping[str, Sequence[tuple[Cell, str]]]) -> list[tuple[str, str]]:
    """Baseline and strategy of every comparison that a cell was run for."""
    return [(chosen, label) for label, own in pairs.items() for kept, chosen in own if kept is cell]


def _warnings(
    found: Sequence[Cell],
    pairs: Mapping[str, Sequence[tuple[Cell, str]]],
    lines: Sequence[Line],
    metrics: Sequence[str],
    regret: Regret | None,
) -> Iterator[Diagnostic]:
    """What is uneven in the cells, and what the record does not hold."""
    alone = [line for line in lines if any(found.method == "none" for found in line.by.values())]
    apart = [line for line in lines if line.seeds.baseline_only or line.seeds.strategy_only]
    lacking = [cell for cell in found if len(_sides(cell, pairs)) < len(pairs)]
    mixed = [cell for cell in found if set(cell.repeated) & set().union(*_sides(cell, pairs))]
    unpaired = "seeds of one side alone are left out, or nothing is paired (method unpaired)"
    cases: list[tuple[str, str, Sequence[Line | Cell]]] = [
        ("SINGLE_SEED", "difference without interval", alone),
        ("SEEDS_NOT_SHARED", unpaired, apart),
        ("CELLS_LEFT_OUT", "one of the two was not run", lacking),
        ("MIXED_SETTINGS", "several runs of one seed, averaged", mixed),
    ]
    for code, text, where in cases:
        if where:
            yield diagnose(code, f"{text}: {'; '.join(one.name for one in where)}")
    if regret is not None and any(ways.dev is None for ways in regret.by.values()):
        text = "no regret against a fixed ω chosen on dev: in some cell no fixed ω has dev metrics"
        yield diagnose("NO_DEV_METRICS", text)
    if not comparable(metrics):
        text = f"{', '.join(metrics)} have no common unit, so no mean over them is given"
        yield diagnose("NO_COMMON_UNIT", text)

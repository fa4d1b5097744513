"""Regret: how much a rule of ω, or one ω kept everywhere, loses to the best fixed ω of each cell.

The best fixed ω of a cell is known only after all have been run. A rule is worth having when its worst regret
over the cells is below that of every single ω: then no ω chosen once and for all would have done. The best
is chosen twice: by the metric that is reported (which nobody can do beforehand, so it flatters the best), and
on dev metrics (which can be done honestly).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from retrieval.run.metric_names import larger_is_better
from sweeps.comparison.cells import ON_DEV, Cell
from sweeps.comparison.paired import difference
from sweeps.comparison.record import Against, CellRegret, Policy, Regret, Verdict, Ways


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
    usable: Sequence[Cell],
    strategy: str,
    fixed: Mapping[str, float],
    columns: tuple[str, str],
    level: float,
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
    """Regret of one label in every cell, and the worst of them."""
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

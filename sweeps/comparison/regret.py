"""Regret: how much a rule of ω, or one ω kept everywhere, loses to the best fixed ω of each cell.

The best fixed ω of a cell is known only after all have been run. A rule is worth having when its worst regret
over the cells is below that of every single ω: then no ω chosen once and for all would have done. The best
is chosen twice: by the metric that is reported (which nobody can do beforehand, so it flatters the best), and
on dev metrics (which can be done honestly).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from retrieval.run.metric_names import larger_is_better
from sweeps.comparison.cells import ON_DEV, Cell
from sweeps.comparison.paired import difference


def regrets(
    found: Sequence[Cell], strategy: str, fixed: Mapping[str, float], names: Sequence[str], level: float
) -> dict[str, Any]:
    """Regret of ``strategy`` and of every fixed ω, for every metric.

    Args:
        found: cells; those without a fixed ω or without the strategy are left out.
        strategy: label.
        fixed: label -> ω.
        names: metrics, and ``mean``.
        level: of the intervals.

    Returns: ``candidates`` (label -> ω), ``cells`` (names) and, in ``by``, for every metric ``reported`` and
        ``dev`` (how the best was chosen; ``None`` without dev metrics), each with ``best`` (cell -> label),
        ``policies`` and ``verdict``. A policy has ``worst, worst_cell, mean, missing`` and ``cells`` (cell ->
        ``regret, low, high, n, df``); positive is worse than the best, in the metric's unit.
    """
    usable = [cell for cell in found if strategy in cell.values and set(fixed) & set(cell.values)]
    by = {
        name: {
            way: _against(usable, strategy, fixed, (name, column), level)
            for way, column in (("reported", name), ("dev", ON_DEV))
        }
        for name in names
    }
    return {"candidates": dict(fixed), "cells": [cell.name for cell in usable], "by": by}


def _against(
    usable: Sequence[Cell],
    strategy: str,
    fixed: Mapping[str, float],
    columns: tuple[str, str],
    level: float,
) -> dict[str, Any] | None:
    """Regrets in the first of ``columns`` against the fixed ω that is best in the second."""
    name, column = columns
    best = {cell.name: cell.best(list(fixed), column) for cell in usable}
    if not usable or None in best.values():
        return None
    policies = {
        label: _policy([(cell, str(best[cell.name])) for cell in usable], label, name, level)
        for label in dict.fromkeys([strategy, *fixed])
    }
    return {"best": best, "policies": policies, "verdict": _verdict(policies, strategy, fixed)}


def _policy(pairs: Sequence[tuple[Cell, str]], label: str, name: str, level: float) -> dict[str, Any]:
    """Regret of one label in every cell, and the worst of them."""
    ran = [(cell, best) for cell, best in pairs if label in cell.values]
    cells = {cell.name: _regret(cell, best, label, name, level) for cell, best in ran}
    sizes = {where: float(entry["regret"]) for where, entry in cells.items()}
    worst = max(sizes, key=lambda where: sizes[where]) if sizes else None
    return {
        "worst": sizes[worst] if worst is not None else None,
        "worst_cell": worst,
        "mean": float(np.mean(list(sizes.values()))) if sizes else None,
        "missing": [cell.name for cell, _ in pairs if label not in cell.values],
        "cells": cells,
    }


def _regret(cell: Cell, best: str, label: str, name: str, level: float) -> dict[str, Any]:
    first, second = cell.values[best][name], cell.values[label][name]
    if larger_is_better(name):
        first, second = second, first
    found = difference(first, second, level)
    return {"regret": found.estimate, "low": found.low, "high": found.high, "n": found.n, "df": found.df}


def _verdict(
    policies: Mapping[str, Mapping[str, Any]], strategy: str, fixed: Mapping[str, float]
) -> dict[str, Any]:
    """Whether the strategy's worst regret is below that of every single ω that was run in all cells.

    Of point estimates; the intervals of the cells say how sure they are.
    """
    everywhere = {
        label: float(policies[label]["worst"])
        for label in fixed
        if label != strategy and not policies[label]["missing"]
    }
    single = min(everywhere, key=lambda label: everywhere[label]) if everywhere else None
    own = policies[strategy]["worst"]
    return {
        "strategy_worst": own,
        "best_single": single,
        "best_single_worst": everywhere[single] if single is not None else None,
        "better_than_any_single": own < everywhere[single] if single is not None else None,
    }

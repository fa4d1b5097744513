"""What an attack reaches by how much it may change: its measures at every budget.

An attack that makes one edit after the other, as ``wsra`` does, would have stopped earlier with a smaller
budget. So its way tells what each smaller budget would have given.
"""

from collections.abc import Sequence

import numpy as np

from retrieval.config.attack import ADVERSARIAL
from retrieval.data.testset import IntArray
from retrieval.evaluation.adversarial.records import Moment

TOP = 10
"""Rank from which on a passage counts as promoted to the top."""


def curves(
    traces: Sequence[Sequence[Moment]],
    before: IntArray,
    after: IntArray,
    budget: int,
    prefix: str = ADVERSARIAL,
) -> dict[str, float]:
    """Metrics at each budget m of 0 to ``budget`` units, as ``PREFIX/curve/NAME@m``, and ``PREFIX/auc``.

    Names are those of the measures of the whole attack: ``top10_rate``, ``success_rate``, ``rank_boost`` and
    ``queries``, which is a sum over targets. The last is :func:`area` under the top-10 rate.

    ``traces``: of each target, the start first and the end last. ``before``, ``after``: measured ranks
    int64[t], which stand at both ends of the way of a target; those between are the attack's own.
    """
    found: dict[str, float] = {}
    rates = []
    for words in range(budget + 1):
        moments = [_within(trace, words) for trace in traces]
        ends = [trace[-1].words for trace in traces]
        ranks = np.array([moment.rank for moment in moments], dtype=np.int64)
        ranks = np.where([moment.words == 0 for moment in moments], before, ranks)
        ranks = np.where([moment.words == end for moment, end in zip(moments, ends)], after, ranks)
        rates.append(float((ranks <= TOP).mean()))
        found |= {
            f"{prefix}/curve/top10_rate@{words}": rates[-1],
            f"{prefix}/curve/success_rate@{words}": float((ranks < before).mean()),
            f"{prefix}/curve/rank_boost@{words}": float((before - ranks).mean()),
            f"{prefix}/curve/queries@{words}": float(sum(moment.queries for moment in moments)),
        }
    return {**found, f"{prefix}/auc": area(rates)}


def area(rates: Sequence[float]) -> float:
    """The area under rates at budgets of 0, 1, … units, by trapezoids, as a share of the largest possible."""
    return float(np.trapezoid(rates)) / (len(rates) - 1)


def _within(trace: Sequence[Moment], words: int) -> Moment:
    """Where an attack with so small a budget ends: after its last word, or where it ended anyway."""
    return next((moment for moment in trace if moment.words >= words), trace[-1])

"""What an attack reaches by how much it may change: its measures at every budget.

An attack that makes one edit after the other, as ``wsra`` does, would have stopped earlier with a smaller
budget. So its way tells what each smaller budget would have given.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from retrieval.config.attack import ADVERSARIAL
from retrieval.data.testset import IntArray
from retrieval.evaluation.adversarial.records import Moment
from retrieval.evaluation.intervals import of_mean

TOP = 10
"""Rank from which on a passage counts as promoted to the top."""


def curves(
    traces: Sequence[Sequence[Moment]],
    before: IntArray,
    after: IntArray,
    budget: int,
    prefix: str = ADVERSARIAL,
    owners: Sequence[int] = (),
) -> dict[str, float]:
    """Metrics at each budget m of 0 to ``budget`` units, as ``PREFIX/curve/NAME@m``, and ``PREFIX/auc``.

    Names are those of the measures of the whole attack: ``top10_rate``, ``success_rate``, ``rank_boost`` and
    ``queries``, which is a sum over targets. The last is :func:`area` under the top-10 rate.

    ``traces``: of each target, the start first and the end last. ``before``, ``after``: measured ranks
    int64[t], which stand at both ends of the way of a target; those between are the attack's own. ``owners``:
    the query of each target; with two or more ``PREFIX/auc/low`` and ``/high`` are the area's interval.
    """
    found: dict[str, float] = {}
    reached = []
    for words in range(budget + 1):
        moments = [_within(trace, words) for trace in traces]
        ends = [trace[-1].words for trace in traces]
        ranks = np.array([moment.rank for moment in moments], dtype=np.int64)
        ranks = np.where([moment.words == 0 for moment in moments], before, ranks)
        ranks = np.where([moment.words == end for moment, end in zip(moments, ends)], after, ranks)
        reached.append(ranks <= TOP)
        found |= {
            f"{prefix}/curve/top10_rate@{words}": float(reached[-1].mean()),
            f"{prefix}/curve/success_rate@{words}": float((ranks < before).mean()),
            f"{prefix}/curve/rank_boost@{words}": float((before - ranks).mean()),
            f"{prefix}/curve/queries@{words}": float(sum(moment.queries for moment in moments)),
        }
    areas = {f"{prefix}/auc{end}": value for end, value in areas_of(np.array(reached), owners).items()}
    return found | areas


def areas_of(reached: NDArray[np.bool_], owners: Sequence[int] = ()) -> dict[str, float]:
    """The area under the mean of bool[m + 1, t], as ``""``, and its 95 % interval, as ``/low`` and ``/high``.

    The interval is Student's, over the means by query, because targets of one query are alike; there is none
    with fewer than two queries. ``owners``: the query of each column.
    """
    found = {"": area(reached.mean(axis=1).tolist())}
    queries = np.unique(np.asarray(owners, dtype=np.int64))
    own = np.asarray(np.trapezoid(reached.astype(np.float64), axis=0)) / (len(reached) - 1)
    means = np.array([own[np.asarray(owners) == query].mean() for query in queries], dtype=np.float64)
    if ends := of_mean(means):
        half = (ends[1] - ends[0]) / 2
        found |= {"/low": max(0.0, found[""] - half), "/high": min(1.0, found[""] + half)}
    return found


def area(rates: Sequence[float]) -> float:
    """The area under rates at budgets of 0, 1, … units, by trapezoids, as a share of the largest possible."""
    return float(np.trapezoid(rates)) / (len(rates) - 1)


def _within(trace: Sequence[Moment], words: int) -> Moment:
    """Where an attack with so small a budget ends: after its last word, or where it ended anyway."""
    return next((moment for moment in trace if moment.words >= words), trace[-1])

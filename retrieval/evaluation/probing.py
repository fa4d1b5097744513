"""Which of two texts of one passage a model prefers, probe by probe.

    preference = (1/n) Σ over pairs of 1[s(q, biased) > s(q, other)] + ½·1[s(q, biased) = s(q, other)]
    difference = mean of s(q, biased) − s(q, other), in units of the spread of scores

The spread is the mean over queries of the standard deviation of the scores of the candidates that were ranked
for a query: what moves a passage among them.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from retrieval.config import EvalConfig
from retrieval.config.evaluation import PROBES
from retrieval.data.arrays import FloatArray
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.evaluation import intervals
from retrieval.evaluation.one_set import SetScores
from retrieval.evaluation.probe import excerpt_of
from retrieval.evaluation.suite import Measured
from retrieval.run.metric_names import BIAS
from retrieval.search.ranking import check_finite
from retrieval.search.retriever import TextRetriever


@dataclass(frozen=True)
class Pairs:
    """The pairs of a probe."""

    queries: IntArray
    """int64[n], positions of the queries in the set, ascending."""
    biased: list[str]
    others: list[str]


def pairs_of(evaluation_set: EvaluationSet, kind: str) -> Pairs:
    """The pairs of a probe: one a query, of its relevant passage of highest grade, the first of equals."""
    probe = PROBES[kind]()
    columns = best_passages(evaluation_set)
    passages = evaluation_set.collection.passage_texts(evaluation_set.passage_rows[columns])
    made = {}
    for place, (query, passage) in enumerate(zip(evaluation_set.queries(), passages, strict=True)):
        excerpt = excerpt_of(query, passage)
        pair = None if excerpt is None else probe.pair(excerpt)
        if pair is not None:
            made[place] = pair
    biased, others = ([pair[side] for pair in made.values()] for side in (0, 1))
    return Pairs(np.array(list(made), dtype=np.int64), biased, others)


def best_passages(evaluation_set: EvaluationSet) -> IntArray:
    """int64[q], the pool position of a relevant passage of each query."""
    starts, stops = evaluation_set.indptr[:-1].tolist(), evaluation_set.indptr[1:].tolist()
    grades = evaluation_set.grades
    return np.array(
        [evaluation_set.columns[a + int(grades[a:b].argmax())] for a, b in zip(starts, stops)], dtype=np.int64
    )


def with_probes(retriever: TextRetriever, suite: Measured, config: EvalConfig) -> Measured:
    """``suite`` with the metrics of ``config.probes`` on the in-domain test set.

    Of a probe that no passage of the set serves, ``bias/<kind>/pairs`` alone is there, and 0.

    Raises:
        ParetrieveError: A score is not finite.
    """
    if not config.probes:
        return suite
    clean = suite.scores["eff"]
    own = clean.evaluation_set
    rows = clean.encoded[0] if clean.encoded is not None else None
    if rows is None:
        rows = retriever.encode(own.collection, "queries", own.query_rows)
    spread, metrics = _spread(clean), dict(suite.metrics)
    for kind in dict.fromkeys(config.probes):
        pairs = pairs_of(own, kind)
        metrics[f"{BIAS}/{kind}/pairs"] = float(len(pairs.queries))
        if len(pairs.queries):
            biased, others = _scores(retriever, rows[pairs.queries], pairs)
            metrics |= preference(f"{BIAS}/{kind}", biased, others, spread)
    return replace(suite, metrics=metrics)


def preference(
    prefix: str, biased: NDArray[np.floating], others: NDArray[np.floating], spread: float
) -> dict[str, float]:
    """The metrics of scores ``[n]`` of the biased texts and of the others; ``spread`` of 0 gives no unit."""
    wins = float(((biased > others) + 0.5 * (biased == others)).sum())
    low, high = intervals.of_share(wins, len(biased))
    key = f"{prefix}/preference"
    found = {key: wins / len(biased), f"{key}/low": low, f"{key}/high": high}
    if spread > 0:
        found[f"{prefix}/difference"] = float(np.mean(biased - others)) / spread
    return found


def _scores(retriever: TextRetriever, queries: FloatArray, pairs: Pairs) -> tuple[FloatArray, FloatArray]:
    encoded = retriever.encode_texts([*pairs.biased, *pairs.others], "passages")
    scores = retriever.scores.pairs(np.concatenate([queries, queries]), encoded)
    check_finite(scores)
    return scores[: len(queries)], scores[len(queries) :]


def _spread(clean: SetScores) -> float:
    ranking = clean.ranking
    if ranking is None:
        return 0.0
    scores = np.where(ranking.columns >= 0, ranking.scores.astype(np.float64), np.nan)
    several = np.isfinite(scores).sum(axis=1) > 1
    return float(np.nanstd(scores[several], axis=1).mean()) if several.any() else 0.0

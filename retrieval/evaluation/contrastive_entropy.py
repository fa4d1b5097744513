"""Contrastive entropy, the continuous metric that scaling laws are fitted to (arXiv 2403.18684).

    CE(q, p⁺) = −ln( e^{s(q,p⁺)} / (e^{s(q,p⁺)} + Σ_{j=1..W} e^{s(q,p⁻_j)}) )

with W random irrelevant passages, natural logarithm, mean over draws and then over pairs.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from retrieval.data.arrays import FloatArray, within
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.errors import ConfigError
from retrieval.models.scores import INNER_PRODUCTS, Scores
from retrieval.search.ranking import check_count, check_finite

NEGATIVE_CANDIDATES = 65_536
"""Pools larger than this lend a fixed random sample of so many passages as negatives: scores against a
whole corpus of millions would cost as much as an exact search and change the expectation by nothing."""

_CHUNK_ELEMENTS = 4_000_000


def means_by_query(pairs: NDArray[np.float64], evaluation_set: EvaluationSet) -> NDArray[np.float64]:
    """Means over each query's relevant pairs, float64[q], of values ``[pairs]``."""
    return np.add.reduceat(pairs, evaluation_set.indptr[:-1]) / np.diff(evaluation_set.indptr)


def check_candidates(evaluation_set: EvaluationSet, candidates: IntArray, negatives: int) -> None:
    """Refuse a set in which some query has fewer irrelevant ``candidates`` than a draw takes.

    Raises:
        ConfigError: Naming the query, the numbers and the setting that mends it.
    """
    for query, forbidden in enumerate(_forbidden(evaluation_set, candidates)):
        available = len(candidates) - len(forbidden)
        if available >= negatives:
            continue
        identifier = evaluation_set.query_ids()[query]
        pool, passages = len(evaluation_set.passage_rows), evaluation_set.collection.counts["passages"]
        fixes = [f"set eval.negatives={available} or less"] if available else []
        if pool < passages:
            fixes.append(f"set eval.pool above {pool} (the corpus has {passages})")
        fix = ", or ".join(fixes) or "all are relevant, so add others or remove the query's judgements"
        raise ConfigError(
            f"{evaluation_set.name}: contrastive entropy needs {negatives} irrelevant passages a query, but "
            f"query {identifier!r} has {available} among the {pool} candidates; {fix}"
        )


def contrastive_entropy(
    queries: FloatArray,
    passages: FloatArray,
    evaluation_set: EvaluationSet,
    *,
    scores: Scores = INNER_PRODUCTS,
    negatives: int = 256,
    draws: int = 10,
    seed: int = 1,
) -> NDArray[np.float64]:
    """Contrastive entropy of each relevant pair in nats, the mean over draws: float64[pairs].

    Negatives are drawn per query, without replacement within a draw, from the candidates that are not
    relevant for the query (any grade above zero is relevant). They depend on the set and the seed only:
    two models are compared on the same negatives. Pairs are in the order of ``EvaluationSet.columns``.

    Args:
        queries: float32[q, …], encoded.
        passages: float32[n, …] of :func:`compared_columns`, in their order.
        evaluation_set: The set the rows belong to.
        scores: The family's, temperature included; inner products of vectors unless said.
        negatives, draws, seed: W, how often W negatives are drawn for each query, and by which seed.

    Raises:
        ConfigError: A query has fewer than ``negatives`` irrelevant candidates.
        ParetrieveError: Rows are too few or too many, or a score is not finite.
    """
    candidates = negative_candidates(evaluation_set, seed)
    scored = np.union1d(candidates, evaluation_set.columns)
    check_count(queries, len(evaluation_set.query_rows), "query", evaluation_set)
    check_count(passages, len(scored), "passage", evaluation_set)
    check_candidates(evaluation_set, candidates, negatives)
    candidates_scored = np.searchsorted(scored, candidates)
    entropies = _by_pair if scores.by_pair else _by_matrix
    columns_scored = np.searchsorted(scored, evaluation_set.columns)
    drawn = _draw_negatives(evaluation_set, candidates, negatives, draws, seed)
    pairs = np.empty(len(evaluation_set.columns))
    chunk = max(1, _CHUNK_ELEMENTS // max(len(scored), draws * negatives))
    for start in range(0, len(queries), chunk):
        stop = min(start + chunk, len(queries))
        chosen = candidates_scored[np.stack([next(drawn) for _ in range(start, stop)])]
        counts = np.diff(evaluation_set.indptr[start : stop + 1])
        first, last = evaluation_set.indptr[start], evaluation_set.indptr[stop]
        relevant = columns_scored[first:last]
        pairs[first:last] = entropies(scores, queries[start:stop], passages, chosen, relevant, counts)
    return pairs


def draws_of(scores: Scores, draws: int) -> int:
    """``draws``, but one where each score takes a forward pass."""
    return 1 if scores.by_pair else draws


def standard_error(pairs: NDArray[np.float64], evaluation_set: EvaluationSet) -> float:
    """Of the mean over float64[pairs], whose queries are a sample; NaN of a single query.

    By linearisation of the ratio of two means (Cochran 1977, §6.3): relevant pairs of a query count together.
    """
    counts = np.diff(evaluation_set.indptr)
    residuals = (means_by_query(pairs, evaluation_set) - pairs.mean()) * counts
    if len(counts) < 2:
        return float("nan")
    return float(np.sqrt(np.square(residuals).sum() * len(counts) / (len(counts) - 1)) / counts.sum())


def _by_matrix(
    scores: Scores,
    queries: FloatArray,
    passages: FloatArray,
    chosen: IntArray,
    relevant: IntArray,
    counts: IntArray,
) -> NDArray[np.float64]:
    """Entropies of the ``relevant`` pairs, ``counts[n]`` of each query, with ``chosen[n, draws, W]``."""
    values = scores.matrix(queries, passages)
    check_finite(values)
    flat = chosen.reshape(len(chosen), -1)
    against = _log_sum_exp(np.take_along_axis(values, flat, axis=1).reshape(chosen.shape))
    query = np.repeat(np.arange(len(counts)), counts)
    own = values[query, relevant].astype(np.float64)
    entropies: NDArray[np.float64] = np.logaddexp(0.0, against[query] - own[:, None]).mean(axis=1)
    return entropies


def _by_pair(
    scores: Scores,
    queries: FloatArray,
    passages: FloatArray,
    chosen: IntArray,
    relevant: IntArray,
    counts: IntArray,
) -> NDArray[np.float64]:
    """As :func:`_by_matrix`, of a model that is asked for no more pairs than needed."""
    query, place = np.repeat(np.arange(len(counts)), counts), within(counts)
    most = int(counts.max())
    columns = np.full((len(counts), most), -1, dtype=np.int64)
    columns[query, place] = relevant
    columns = np.concatenate([columns, chosen.reshape(len(chosen), -1)], axis=1)
    values = scores.listed(queries, passages, columns)
    check_finite(values[columns >= 0])
    against = _log_sum_exp(values[:, most:].reshape(chosen.shape))
    own = values[query, place].astype(np.float64)
    entropies: NDArray[np.float64] = np.logaddexp(0.0, against[query] - own[:, None]).mean(axis=1)
    return entropies


def _log_sum_exp(taken: FloatArray) -> NDArray[np.float64]:
    """ln Σ exp of the scores ``[n, draws, W]`` of negatives: float64[n, draws]."""
    taken = taken.astype(np.float64)
    highest = taken.max(axis=2)
    sums: NDArray[np.float64] = np.exp(taken - highest[:, :, None]).sum(axis=2)
    logarithms: NDArray[np.float64] = highest + np.log(sums)
    return logarithms


def compared_columns(evaluation_set: EvaluationSet, seed: int) -> IntArray:
    """The ascending pool positions int64[n] of the passages that contrastive entropy scores.

    They are the candidates for negatives and the relevant passages: the whole pool where it holds no more
    than :data:`NEGATIVE_CANDIDATES`, a number that does not grow with the corpus where it does.
    """
    return np.union1d(negative_candidates(evaluation_set, seed), evaluation_set.columns)


def negative_candidates(evaluation_set: EvaluationSet, seed: int) -> IntArray:
    """The pool positions that negatives are drawn from, by ascending passage row."""
    order = np.argsort(evaluation_set.passage_rows)
    if len(order) <= NEGATIVE_CANDIDATES:
        return order
    return order[np.sort(np.random.default_rng(seed).choice(len(order), NEGATIVE_CANDIDATES, replace=False))]


def _forbidden(evaluation_set: EvaluationSet, candidates: IntArray) -> Iterator[IntArray]:
    """Ascending indexes into ``candidates`` that are no negatives of a query, one query after the other."""
    indexes = np.full(len(evaluation_set.passage_rows), -1, dtype=np.int64)
    indexes[candidates] = np.arange(len(candidates))
    relevant = indexes[evaluation_set.columns]
    indptr = evaluation_set.indptr.tolist()
    for query, own in enumerate(evaluation_set.identical.tolist()):
        excluded = relevant[indptr[query] : indptr[query + 1]]
        if own >= 0:
            excluded = np.append(excluded, indexes[own])
        yield np.unique(excluded[excluded >= 0])


def _draw_negatives(
    evaluation_set: EvaluationSet, candidates: IntArray, negatives: int, draws: int, seed: int
) -> Iterator[IntArray]:
    """Indexes int64[draws, W] into ``candidates``, none of them forbidden, one query after the other.

    A query's draws depend on its row and the seed, not on which other queries are in the set.
    """
    rows = evaluation_set.query_rows.tolist()
    for row, forbidden in zip(rows, _forbidden(evaluation_set, candidates), strict=True):
        generator = np.random.default_rng((seed, row))
        allowed = len(candidates) - len(forbidden)
        drawn = np.stack(
            [generator.choice(allowed, negatives, replace=False, shuffle=False) for _ in range(draws)]
        )
        # The n-th allowed index is n plus the number of forbidden indexes before it.
        yield drawn + np.searchsorted(forbidden - np.arange(len(forbidden)), drawn, side="right")

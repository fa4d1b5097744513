"""Exact search and ranking metrics: nDCG@10, MRR@10 and Recall@100 through ir-measures."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from retrieval.data.arrays import FloatArray, within
from retrieval.data.cache import build_once
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.errors import ParetrieveError
from retrieval.models.scores import INNER_PRODUCTS, Scores
from retrieval.run.metric_names import RANKING

DEPTH = 100
"""Candidates that ranking metrics look at."""

_CHUNK_ELEMENTS = 8_000_000
_GROUP = 64
# Equal scores are ordered by a fixed bijection of the passage's position. By position itself, a
# collapsed encoder would score well on every corpus that lists its relevant passages first.
_SCRAMBLE = 2_654_435_761
_UNSCRAMBLE = pow(_SCRAMBLE, -1, 2**32)


@dataclass(frozen=True)
class Ranking:
    """The best passages of every query, best first."""

    columns: IntArray
    """int64[q, k] pool positions; −1 pads a list that is shorter than k."""
    scores: FloatArray
    """float32[q, k]; −inf where padded."""


def check_count(vectors: FloatArray, expected: int, side: str, evaluation_set: EvaluationSet) -> None:
    """Raise :class:`ParetrieveError` unless there are ``expected`` vectors, float32[n, …], of texts."""
    if len(vectors) != expected:
        raise ParetrieveError(
            f"{evaluation_set.name}: the encoder returned {len(vectors)} {side} vectors for {expected} texts"
        )


def check_finite(values: NDArray[np.floating]) -> None:
    """Raise :class:`ParetrieveError` for NaN and infinity, which would otherwise rank silently."""
    if not np.isfinite(values).all():
        raise ParetrieveError(
            "the encoder returned vectors or scores with NaN or infinity; it cannot be measured"
        )


def top_k(
    queries: FloatArray,
    passages: FloatArray,
    k: int,
    chunk: int = 65_536,
    scores: Scores = INNER_PRODUCTS,
) -> Ranking:
    """The ``k`` passages of highest score of every query, exactly.

    The result does not depend on ``chunk`` up to rounding: a library may add the terms of a score in another
    order for blocks of another shape. Ties have a fixed order (see :func:`top_k_of_blocks`).

    Args:
        queries: float32[q, …], encoded.
        passages: float32[p, …]; may be memory-mapped, only ``chunk`` rows are read at a time.
        k: Depth; lists hold min(k, p) passages.

    Raises:
        ParetrieveError: A row holds NaN or infinity.
    """
    blocks = (passages[start : start + chunk] for start in range(0, len(passages), chunk))
    return top_k_of_blocks(queries, blocks, k, scores)


def top_k_of_blocks(
    queries: FloatArray, blocks: Iterable[FloatArray], k: int, scores: Scores = INNER_PRODUCTS
) -> Ranking:
    """The ``k`` best of passages that come in blocks float32[n, …], numbered as they come: see :class:`TopK`.

    Raises:
        ParetrieveError: A row holds NaN or infinity.
    """
    best = TopK(queries, k, scores)
    for block in blocks:
        best.take(block)
        del block  # let go of it before the next one is made
    return best.ranking()


class TopK:
    """The ``k`` best of passages that are handed over block by block.

    Memory is bounded by one block, q × k results and a score matrix of a few million elements. Equal
    scores are ordered by a fixed pseudo-random bijection of the position.
    """

    def __init__(self, queries: FloatArray, k: int, scores: Scores = INNER_PRODUCTS) -> None:
        """``queries``: float32[q, …], encoded.

        Raises:
            ParetrieveError: A row holds NaN or infinity.
        """
        self._queries = np.require(queries, requirements="W")
        check_finite(self._queries)
        self._scores = scores
        self._best = np.zeros((len(queries), 0), dtype=np.uint64)
        self._k = k
        self.seen = 0
        """Passages that were taken so far."""

    def take(self, block: FloatArray) -> None:
        """Look at the next passages, float32[n, …].

        Raises:
            ParetrieveError: A row holds NaN or infinity.
        """
        check_finite(block)
        block = np.require(block, requirements="W")  # PyTorch takes no read-only memory
        chunk = max(1, _CHUNK_ELEMENTS // max(1, len(block)))
        queries, best = self._queries, self._best
        spans = [slice(start, start + chunk) for start in range(0, len(queries), chunk)]
        parts = [
            _merge(best[span], self._scores.search(queries[span], block), self.seen, self._k)
            for span in spans
        ]
        self._best = np.concatenate(parts) if parts else best
        self.seen += len(block)

    def ranking(self) -> Ranking:
        """The best of what was taken, numbered as it came."""
        keys = np.sort(self._best, axis=1)[:, ::-1]
        positions = (keys * np.uint64(_UNSCRAMBLE)) & np.uint64(0xFFFFFFFF)
        return Ranking(columns=positions.astype(np.int64), scores=_scores_of(keys))


def _merge(best: NDArray[np.uint64], scores: FloatArray, offset: int, k: int) -> NDArray[np.uint64]:
    """Merge scores float32[n, block] of passages from ``offset`` on into the best keys uint64[n, ≤ k].

    A key holds the score in its upper and the scrambled position in its lower half, so that keys are
    distinct and their order is the ranking. Only scores that can still enter get one: after a few blocks
    hardly any.
    """
    rows, columns = _reaching(scores, best, k)
    counts = np.bincount(rows, minlength=len(scores))
    width = int(counts.max(initial=0))
    if width == 0:
        return best
    fresh = np.zeros((len(scores), width), dtype=np.uint64)
    slots = within(counts)
    fresh[rows, slots] = _keys(scores[rows, columns], columns + offset)
    merged = np.concatenate([best, fresh], axis=1)
    if merged.shape[1] <= k:
        return merged
    return np.partition(merged, merged.shape[1] - k, axis=1)[:, -k:]


def _reaching(scores: FloatArray, best: NDArray[np.uint64], k: int) -> tuple[IntArray, IntArray]:
    """Rows and columns of all scores that can be among the ``k`` best of their row, and of few others.

    Looks at the maxima of groups of columns first: the k-th largest maximum is a score that k passages
    reach, and a group whose maximum is below the bound holds nothing. That leaves a hundredth of the
    scores to be looked at one by one.
    """
    groups = scores.shape[1] // _GROUP
    grouped = scores[:, : groups * _GROUP].reshape(len(scores), groups, _GROUP)
    maxima = torch.from_numpy(grouped).amax(-1).numpy()
    bound = _bound(best, scores, maxima, k)
    row, group = np.nonzero(maxima >= bound)
    found, within = np.nonzero(grouped[row, group] >= bound[row])
    rest_row, rest = np.nonzero(scores[:, groups * _GROUP :] >= bound)
    rows = np.concatenate([row[found], rest_row])
    columns = np.concatenate([group[found] * _GROUP + within, rest + groups * _GROUP])
    order = np.argsort(rows, kind="stable")
    return rows[order], columns[order]


def _bound(best: NDArray[np.uint64], scores: FloatArray, maxima: FloatArray, k: int) -> FloatArray:
    """float32[n, 1]: a bound that every score among the ``k`` best of a row reaches."""
    if best.shape[1] == k:
        return _scores_of(best.min(axis=1))[:, None]
    for values in (maxima, scores):
        if (width := values.shape[1]) > k:
            return np.partition(values, width - k, axis=1)[:, width - k, None]
    return np.full((len(scores), 1), -np.inf, dtype=np.float32)


def _keys(scores: FloatArray, positions: IntArray) -> NDArray[np.uint64]:
    bits = (scores + np.float32(0)).view(np.uint32)  # −0 is the same score as 0 but other bits
    # Flipping makes the integer order of IEEE floats their numeric order, and no key of a score is zero.
    ordered = np.where(bits >> 31, ~bits, bits | np.uint32(0x80000000)).astype(np.uint64)
    scrambled = (positions.astype(np.uint64) * np.uint64(_SCRAMBLE)) & np.uint64(0xFFFFFFFF)
    return (ordered << np.uint64(32)) | scrambled


def _scores_of(keys: NDArray[np.uint64]) -> FloatArray:
    ordered = (keys >> np.uint64(32)).astype(np.uint32)
    bits = np.where(ordered >> 31, ordered & np.uint32(0x7FFFFFFF), ~ordered)
    return bits.astype(np.uint32).view(np.float32)


def ranked(columns: IntArray, scores: FloatArray) -> Ranking:
    """Some pool positions int64[q, k] of every query by their scores float32[q, k], −1 and −inf where none.

    Ties have the order of :func:`top_k_of_blocks`.

    Raises:
        ParetrieveError: A score of a passage is NaN or infinite.
    """
    check_finite(scores[columns >= 0])
    order = np.argsort(_keys(scores, columns), axis=1)[:, ::-1]
    return Ranking(np.take_along_axis(columns, order, 1), np.take_along_axis(scores, order, 1))


def rank(
    queries: FloatArray,
    shards: Iterable[FloatArray],
    evaluation_set: EvaluationSet,
    scores: Scores = INNER_PRODUCTS,
) -> Ranking:
    """The best candidates of every query, from shards float32[n, …] of the pool in its order.

    See :class:`PoolSearch`, whose errors it raises.
    """
    search = PoolSearch(queries, evaluation_set, scores)
    for shard in shards:
        search.take(shard)
        del shard
    return search.ranking()


class PoolSearch:
    """The :data:`DEPTH` best candidates of every query of a set, without its identical-id passage."""

    def __init__(
        self, queries: FloatArray, evaluation_set: EvaluationSet, scores: Scores = INNER_PRODUCTS
    ) -> None:
        """``queries``: float32[q, …], those of the set, encoded.

        Raises:
            ParetrieveError: Rows are too few or too many, or not finite.
        """
        check_count(queries, len(evaluation_set.query_rows), "query", evaluation_set)
        self._set = evaluation_set
        self._leaves_out = bool((evaluation_set.identical >= 0).any())
        self._best = TopK(queries, DEPTH + self._leaves_out, scores)

    def take(self, shard: FloatArray) -> None:
        """Look at the next passages of the pool, in its order: float32[n, …].

        Raises:
            ParetrieveError: A row is not finite.
        """
        self._best.take(shard)

    def ranking(self) -> Ranking:
        """The ranking, once the whole pool was taken.

        Raises:
            ParetrieveError: Too few or too many rows were.
        """
        if (seen := self._best.seen) != (pool := len(self._set.passage_rows)):
            raise ParetrieveError(f"{self._set.name}: {seen} passage vectors for a pool of {pool}")
        found = self._best.ranking()
        return without_identical(found, self._set, DEPTH) if self._leaves_out else found


def without_identical(ranking: Ranking, evaluation_set: EvaluationSet, k: int) -> Ranking:
    """Remove the passage that bears the query's own id and cut to ``k``."""
    own = (ranking.columns == evaluation_set.identical[:, None]) & (ranking.columns >= 0)
    order = np.argsort(own, axis=1, kind="stable")[:, :k]
    dropped = np.take_along_axis(own, order, axis=1)
    columns = np.where(dropped, -1, np.take_along_axis(ranking.columns, order, axis=1))
    scores = np.take_along_axis(ranking.scores, order, axis=1)
    return Ranking(columns=columns, scores=np.where(dropped, np.float32(-np.inf), scores))


def ranking_metrics(ranking: Ranking, evaluation_set: EvaluationSet) -> dict[str, NDArray[np.float64]]:
    """nDCG@10, MRR@10 and Recall@100 of every query as float64[q], keyed as in :data:`RANKING`.

    Computed by trec_eval through ir-measures: equal scores are ordered by descending passage id, nDCG
    takes grades as linear gains, and a query without results counts zero.
    """
    import ir_measures

    measures = {"ndcg@10": ir_measures.nDCG @ 10, "mrr@10": ir_measures.RR, "recall@100": ir_measures.R @ 100}
    names = {measure: name for name, measure in measures.items()}
    values = {name: np.zeros(len(evaluation_set.query_rows)) for name in RANKING}
    run, qrels = _as_dictionaries(ranking, evaluation_set)
    for metric in ir_measures.pytrec_eval.evaluator(list(names), qrels).iter_calc(run):
        values[names[metric.measure]][int(metric.query_id)] = metric.value
    # RR@10 is RR where the first relevant passage stands at rank 10 or above. Taken from RR because
    # ir-measures hands RR@10 to a provider whose order of ties differs from trec_eval's.
    values["mrr@10"][values["mrr@10"] < 1 / 10.5] = 0.0
    return values


def kept_metrics(
    folder: Path, measure: Callable[[], Mapping[str, NDArray[np.float64]]], describe: str
) -> dict[str, NDArray[np.float64]]:
    """The metrics float64[q] that ``measure`` gives, measured once into ``folder``."""

    def build(target: Path) -> None:
        values = {name: scores.tolist() for name, scores in measure().items()}
        (target / "metrics.json").write_text(json.dumps(values), encoding="utf-8")

    build_once(folder, build, describe=describe)
    stored = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {name: np.array(values, dtype=np.float64) for name, values in stored.items()}


def _as_dictionaries(
    ranking: Ranking, evaluation_set: EvaluationSet
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, int]]]:
    """The run and the qrels as pytrec_eval wants them; queries are named by their position."""
    used = np.union1d(ranking.columns[ranking.columns >= 0], evaluation_set.columns)
    inside = used[used < len(evaluation_set.passage_rows)]
    # An attack's own passages stand behind the pool.
    inserted = [f"inserted passage {column}" for column in used[len(inside) :]]
    names = np.array([*evaluation_set.passage_ids(inside), *inserted], dtype=object)
    indptr = evaluation_set.indptr.tolist()
    relevant = names[np.searchsorted(used, evaluation_set.columns)].tolist()
    grades = evaluation_set.grades.tolist()
    qrels = {
        str(query): dict(zip(relevant[start:stop], grades[start:stop]))
        for query, (start, stop) in enumerate(pairwise(indptr))
    }
    run = {}
    for query, (columns, scores) in enumerate(zip(ranking.columns, ranking.scores)):
        found = columns >= 0
        if found.any():
            keys = names[np.searchsorted(used, columns[found])].tolist()
            run[str(query)] = dict(zip(keys, scores[found].tolist()))
    return run, qrels

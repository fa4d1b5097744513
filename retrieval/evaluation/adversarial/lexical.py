"""The texts of an attack ranked by BM25: do they fool a lexical ranker, too?"""

from collections.abc import Sequence

import numpy as np

from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.evaluation.adversarial.adversarial_set import AdversarialSet
from retrieval.evaluation.adversarial.insertion import TOPS
from retrieval.evaluation.adversarial.promotion import rank_metrics
from retrieval.evaluation.adversarial.records import Inserted
from retrieval.search.bm25 import Bm25Index

MOST_PASSAGES = 100_000
"""Of a pool that is indexed once more for an attack."""


def promoted_by_bm25(adversarial: AdversarialSet) -> dict[str, float]:
    """Ranks of the targets before and after, by name of the measure; nothing of a pool that is too large.

    The index holds the pool and, beside it, the new texts; a target competes with all other passages of the
    pool. Ties count against the attacker.
    """
    pool = adversarial.queries
    if len(pool.passage_rows) > MOST_PASSAGES:
        return {}
    index = _index(pool, adversarial.new_texts)
    size, before, after = len(pool.passage_rows), [], []
    by_query: dict[int, np.ndarray] = {}
    texts = pool.queries()
    for number, target in enumerate(adversarial.targets):
        if target.query not in by_query:
            by_query = {target.query: index.scores(texts[target.query])}
        scores = by_query[target.query]
        others = _without(scores[:size], target.column, int(pool.identical[target.query]))
        before.append(1 + int((others >= scores[target.column]).sum()))
        after.append(1 + int((others >= scores[size + number]).sum()))
    return rank_metrics(np.array(before), np.array(after))


def inserted_by_bm25(inserted: Sequence[Inserted], pool: EvaluationSet) -> dict[str, float]:
    """How many queries of a set have an inserted passage at the top; nothing of a pool that is too large."""
    if len(pool.passage_rows) > MOST_PASSAGES:
        return {}
    index = _index(pool, [entry.new_text for entry in inserted])
    size, found = len(pool.passage_rows), []
    for query, identical in zip(pool.queries(), pool.identical.tolist(), strict=True):
        scores = index.scores(query)
        others = _without(scores[:size], identical)
        found.append(1 + int((others >= scores[size:].max()).sum()))
    ranks: IntArray = np.array(found)
    rates = {f"top{top}_rate": float((ranks <= top).mean()) for top in TOPS}
    return {**rates, "rank_after": float(ranks.mean())}


def _index(pool: EvaluationSet, texts: Sequence[str]) -> Bm25Index:
    return Bm25Index.build([*pool.passages(), *texts])


def _without(scores: np.ndarray, *columns: int) -> np.ndarray:
    others = scores.copy()
    others[[column for column in columns if column >= 0]] = -np.inf
    return others

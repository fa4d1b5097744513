"""The in-domain test queries, varied: the same candidates, draws and negatives, and what variation costs.

    drop(kind) = mean over queries of nDCG@10(q) − nDCG@10(varied q)

Only queries that a variation changes are encoded again; passages keep their rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from retrieval.config import EvalConfig
from retrieval.config.evaluation import VARIATIONS
from retrieval.data.arrays import FloatArray, wider
from retrieval.evaluation import intervals
from retrieval.evaluation.one_set import SetScores, measure_others
from retrieval.evaluation.suite import Measured, set_metrics
from retrieval.run.metric_names import DROP, VARIED
from retrieval.search.bm25 import bm25_metrics
from retrieval.search.retriever import TextRetriever

DROPPED = "ndcg@10"
"""The metric whose drop is reported."""


def varied_texts(texts: Sequence[str], kind: str, config: EvalConfig) -> list[str]:
    """Queries as a variation has them, by ``config.seed`` and the keys that it reads.

    Raises:
        ConfigError: There is no such variation, or a file that it needs cannot be read.
        DataError: The file is malformed.
    """
    variation = VARIATIONS[kind](config)
    return [variation(text, config.seed) for text in texts]


def with_variations(retriever: TextRetriever, suite: Measured, config: EvalConfig, cache: Path) -> Measured:
    """``suite`` with the metrics and scores of ``config.variations`` of the in-domain test queries.

    ``suite`` holds the encoded rows of the set, but where it has candidates. ``cache``: where BM25's metrics
    are kept, and rows of many bytes for a while.

    Raises:
        ParetrieveError: The retriever returned rows of the wrong number, or scores that are not finite.
    """
    if not config.variations:
        return suite
    clean = suite.scores["eff"]
    own = clean.evaluation_set
    texts = own.queries()
    varied = {kind: varied_texts(texts, kind, config) for kind in dict.fromkeys(config.variations)}
    if clean.encoded is not None:
        rows = clean.encoded[0]
    else:
        rows = retriever.encode(own.collection, "queries", own.query_rows)
    queries = {kind: _rows(retriever, rows, texts, new) for kind, new in varied.items()}
    measured = measure_others(retriever, queries, clean, config, cache)
    metrics, scores = dict(suite.metrics), dict(suite.scores)
    for kind, found in measured.items():
        prefix = f"{VARIED}/{kind}"
        references = bm25_metrics(own, cache, varied[kind]) if config.bm25 else {}
        named = {f"bm25/{name}": values for name, values in references.items()}
        # Its passages and judgements are those of the clean set, which warnings are about.
        scores[prefix] = replace(found, queries=found.queries | named, ranking=None)
        metrics |= set_metrics(prefix, scores[prefix], sampled=retriever.scores.by_pair)
        metrics |= _drop(prefix, clean, found)
        metrics[f"{prefix}/changed"] = float(np.mean([a != b for a, b in zip(texts, varied[kind])]))
    return replace(suite, metrics=metrics, scores=scores)


def _rows(
    retriever: TextRetriever, rows: FloatArray, texts: Sequence[str], varied: Sequence[str]
) -> FloatArray:
    """``rows`` of ``texts``, those of texts that changed encoded anew."""
    changed = [place for place, (old, new) in enumerate(zip(texts, varied, strict=True)) if old != new]
    if not changed:
        return rows
    new = retriever.encode_texts([varied[place] for place in changed], "queries")
    found = np.array(wider(rows, new.shape[1]))
    found[changed] = wider(new, found.shape[1])
    return found


def _drop(prefix: str, clean: SetScores, varied: SetScores) -> Mapping[str, float]:
    lost = clean.queries[DROPPED] - varied.queries[DROPPED]
    key = f"{prefix}/{DROP}/{DROPPED}"
    ends = intervals.of_mean(lost)
    return {key: float(lost.mean())} | (
        {} if ends is None else {f"{key}/low": ends[0], f"{key}/high": ends[1]}
    )

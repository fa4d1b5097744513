"""A first stage that finds the candidates of each query, for models that can only rank some passages.

A score that takes a forward pass of the pair cannot rank a corpus: what such a model ranks is what another
found, and Recall@100 is then the other's where no more than 100 are found.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from retrieval.config import EvalConfig
from retrieval.data.arrays import FloatArray
from retrieval.data.cache import build_once, digest
from retrieval.data.testset import EvaluationSet, IntArray
from retrieval.errors import ConfigError
from retrieval.models.scores import Scores
from retrieval.search.bm25 import evaluation_index
from retrieval.search.loading import BM25, TEXTS_A_BLOCK, load_retriever, model_identity
from retrieval.search.ranking import Ranking, ranked, top_k_of_blocks, without_identical

_VERSION = "first stage 1"
_FILE = "columns.npy"


def stage_name(config: EvalConfig) -> str:
    """The first stage and its depth as results have it, such as ``bm25@100``."""
    return f"{Path(config.first_stage).name}@{config.rerank_depth}"


def with_candidates(evaluation_set: EvaluationSet, config: EvalConfig, cache: Path) -> EvaluationSet:
    """The set with the candidates that ``config.first_stage`` finds, ``config.rerank_depth`` deep.

    They are found once into ``cache``.

    Raises:
        ConfigError: The first stage cannot be loaded, or scores pairs itself.
    """
    source, depth = str(config.first_stage), int(config.rerank_depth)
    key = digest([_VERSION, evaluation_set.fingerprint, model_identity(source), depth])

    def build(target: Path) -> None:
        found = _found(evaluation_set, source, depth + 1, cache)
        np.save(target / _FILE, without_identical(found, evaluation_set, depth).columns, allow_pickle=False)

    folder = build_once(
        cache / "first-stage" / key[:32], build, describe=f"candidates of {evaluation_set.name} by {source}"
    )
    columns: IntArray = np.load(folder / _FILE, allow_pickle=False)
    return replace(evaluation_set, candidates=columns, fingerprint=key)


def _found(evaluation_set: EvaluationSet, source: str, k: int, cache: Path) -> Ranking:
    if source == BM25:
        return evaluation_index(evaluation_set, cache).top_k(evaluation_set.queries(), k)
    retriever = load_retriever(source)
    if retriever.scores.by_pair:
        raise ConfigError(
            f"eval.first_stage={source} scores pairs by a pass each and cannot search; use bm25, or a model "
            "of one vector a text"
        )
    queries = retriever.encode(evaluation_set.collection, "queries", evaluation_set.query_rows)

    def blocks() -> Iterator[FloatArray]:
        for start in range(0, len(evaluation_set.passage_rows), TEXTS_A_BLOCK):
            rows = evaluation_set.passage_rows[start : start + TEXTS_A_BLOCK]
            yield retriever.encode(evaluation_set.collection, "passages", rows)

    return top_k_of_blocks(queries, blocks(), k, retriever.scores)


def rerank(
    queries: FloatArray, passages: FloatArray, columns: IntArray, candidates: IntArray, scores: Scores
) -> Ranking:
    """The candidates int64[q, k] of every query, −1 where there are fewer, by the scores of a model.

    ``queries``: float32[q, …]; ``passages``: float32[n, …], the rows of the ascending pool positions
    ``columns``, int64[n], all candidates among them.

    Raises:
        ParetrieveError: A score is NaN or infinite.
    """
    places = np.where(candidates >= 0, np.searchsorted(columns, candidates), -1)
    return ranked(candidates, scores.listed(queries, passages, places))

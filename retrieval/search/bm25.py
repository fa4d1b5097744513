"""BM25: the lexical baseline that stands beside every encoder, and an index to mine negatives with.

Lucene's variant with k1 = 0.9 and b = 0.4 over title and text, English stop words removed and words
stemmed (Porter 2), as in Anserini's and BEIR's baselines.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.data.arrays import FloatArray
from retrieval.data.cache import build_once, digest
from retrieval.data.testset import EvaluationSet
from retrieval.search.ranking import DEPTH, Ranking, kept_metrics, ranking_metrics, without_identical
from retrieval.search.retriever import TextScorer

if TYPE_CHECKING:
    from retrieval.data.collection import Collection

K1, B = 0.9, 0.4
# Part of every cache key: raised whenever tokenisation or scoring changes.
VERSION = "bm25 1"


class Bm25Index:
    """BM25 scores of a list of passages, in memory or memory-mapped."""

    def __init__(self, scorer: Any, tokenizer: Any) -> None:
        self._scorer = scorer
        self._tokenizer = tokenizer

    @classmethod
    def build(cls, passages: Iterable[str]) -> Bm25Index:
        """Index the texts of passages; they are numbered as they come."""
        import bm25s

        tokenizer = _tokenizer()
        tokens = list(tokenizer.streaming_tokenize(passages, update_vocab=True, allow_empty=False))
        # A vocabulary without words would have no score matrix at all.
        vocabulary = dict(tokenizer.get_vocab_dict()) or {"": 0}
        scorer = bm25s.BM25(method="lucene", k1=K1, b=B)
        with np.errstate(invalid="ignore"):  # the mean length of a corpus without words is zero
            scorer.index((tokens, vocabulary), create_empty_token=False, show_progress=False)
        return cls(scorer, tokenizer)

    def save(self, folder: Path) -> None:
        """Write the index into a folder: ``.npy`` arrays and JSON, no pickle."""
        self._scorer.save(folder, show_progress=False)
        self._tokenizer.save_vocab(folder)

    @classmethod
    def load(cls, folder: Path) -> Bm25Index:
        """Open a saved index; its arrays stay on disk and are memory-mapped."""
        import bm25s

        tokenizer = _tokenizer()
        tokenizer.load_vocab(folder)
        return cls(bm25s.BM25.load(folder, mmap=True, show_progress=False), tokenizer)

    def scores(self, query: str) -> NDArray[np.float32]:
        """float32[passages]: zero for a passage that shares no word with the query."""
        [tokens] = self._tokenizer.streaming_tokenize([query], update_vocab=False, allow_empty=False)
        scores: NDArray[np.float32] = self._scorer.get_scores_from_ids(tokens)
        return scores

    def top_k(self, queries: Sequence[str], k: int) -> Ranking:
        """The ``k`` best passages of every query, best first, equal scores by position.

        Passages without a word of the query are never returned: lists are padded as in
        :class:`~retrieval.search.ranking.Ranking`.
        """
        columns = np.full((len(queries), k), -1, dtype=np.int64)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        for index, query in enumerate(queries):
            found, values = _best(self.scores(query), k)
            columns[index, : len(found)], scores[index, : len(found)] = found, values
        return Ranking(columns=columns, scores=scores)


class Bm25Retriever(TextScorer):
    """BM25 with the statistics of a whole collection."""

    def __init__(self, collection: Collection, cache: Path) -> None:
        """``cache``: where the index is kept."""
        super().__init__(collection)
        self._index = bm25_index(collection, cache)

    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        texts = self._collection.query_texts(np.asarray(queries))
        return np.stack([self._index.scores(text)[passages] for text in texts])


def bm25_index(collection: Collection, cache: Path) -> Bm25Index:
    """The index of a whole collection, built once into ``cache/bm25-index`` and memory-mapped."""
    folder = cache / "bm25-index" / digest([VERSION, collection.fingerprint])

    def build(target: Path) -> None:
        Bm25Index.build(text for _, text in collection.passages()).save(target)

    return Bm25Index.load(build_once(folder, build, describe=f"BM25 index of {collection.name}"))


def evaluation_index(evaluation_set: EvaluationSet, cache: Path) -> Bm25Index:
    """The index of a set's pool, with its statistics: numbers are pool positions."""
    if len(evaluation_set.passage_rows) == evaluation_set.collection.counts["passages"]:
        return bm25_index(evaluation_set.collection, cache)
    return Bm25Index.build(evaluation_set.passages())


def bm25_metrics(
    evaluation_set: EvaluationSet, cache: Path, queries: Sequence[str] | None = None
) -> dict[str, NDArray[np.float64]]:
    """BM25's nDCG@10, MRR@10 and Recall@100 of every query as float64[q].

    Ranks the same candidates as the encoders are ranked on, with the statistics of those candidates.
    Built once into ``cache/bm25``. ``queries``: texts in the place of the set's.
    """

    def measure() -> dict[str, NDArray[np.float64]]:
        index = evaluation_index(evaluation_set, cache)
        found = index.top_k(evaluation_set.queries() if queries is None else queries, DEPTH + 1)
        return ranking_metrics(without_identical(found, evaluation_set, DEPTH), evaluation_set)

    asked = [] if queries is None else [list(queries)]
    folder = cache / "bm25" / digest([VERSION, evaluation_set.fingerprint, *asked])
    return kept_metrics(folder, measure, f"BM25 baseline of {evaluation_set.name}")


def _tokenizer() -> Any:
    import Stemmer
    from bm25s.tokenization import Tokenizer

    return Tokenizer(stemmer=Stemmer.Stemmer("english"), stopwords="english")


def _best(scores: NDArray[np.float32], k: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Positions and scores of the ``k`` highest scores above zero, ties by position."""
    if len(scores) > k:
        floor = np.partition(scores, len(scores) - k)[len(scores) - k]
        found = np.flatnonzero((scores >= floor) & (scores > 0))
    else:
        found = np.flatnonzero(scores > 0)
    order = found[np.argsort(-scores[found], kind="stable")[:k]]
    return order, scores[order]

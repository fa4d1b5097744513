"""Exact top-100: our chunked search against beir's ``DenseRetrievalExactSearch`` on the same vectors."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from retrieval.search.ranking import top_k


def _vectors(queries: int, passages: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return (
        random.standard_normal((queries, dimension), dtype=np.float32),
        random.standard_normal((passages, dimension), dtype=np.float32),
    )


def ours(queries: int, passages: int, dimension: int = 256) -> float:
    """Queries per second."""
    query_vectors, passage_vectors = _vectors(queries, passages, dimension)
    start = time.perf_counter()
    top_k(query_vectors, passage_vectors, 100)
    return queries / (time.perf_counter() - start)


def beir(queries: int, passages: int, dimension: int = 256) -> float:
    """Queries per second; the "model" hands out vectors made beforehand, so that only the search is timed."""
    from beir.retrieval.search.dense import DenseRetrievalExactSearch

    query_vectors, passage_vectors = _vectors(queries, passages, dimension)

    class Ready:
        """Vectors by text: a text is its own row number."""

        def encode_queries(self, texts: list[str], **_: Any) -> np.ndarray:
            return query_vectors[[int(text) for text in texts]]

        def encode_corpus(self, corpus: list[dict[str, str]], **_: Any) -> np.ndarray:
            return passage_vectors[[int(passage["text"]) for passage in corpus]]

    search = DenseRetrievalExactSearch(Ready(), batch_size=1024, corpus_chunk_size=50_000)
    corpus = {f"p{n}": {"title": "", "text": str(n)} for n in range(passages)}
    asked = {f"q{n}": str(n) for n in range(queries)}
    start = time.perf_counter()
    search.search(corpus, asked, 100, "dot")
    return queries / (time.perf_counter() - start)

"""A model whose vectors are sums of word vectors: what the best passage is can be said without a search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from retrieval.data.arrays import FloatArray
from retrieval.data.collection import Collection
from retrieval.data.testset import IntArray
from retrieval.data.tokens import Side
from retrieval.models.scores import INNER_PRODUCTS
from retrieval.search.retriever import Attackable, TokenGradients

_WORD = re.compile(r"\w+")


class BagOfWords(Attackable):
    """A query and a passage are the sum of the vectors of their words; words without one are nothing."""

    scores = INNER_PRODUCTS

    def __init__(self, vectors: dict[str, Sequence[float]]) -> None:
        self.words = list(vectors)
        self.table = np.array([*vectors.values()], dtype=np.float32)
        self.queries: list[str] = []
        """Every query that it was asked for as text."""

    def _known(self, text: str) -> list[tuple[int, tuple[int, int]]]:
        found = ((match.group().lower(), match.span()) for match in _WORD.finditer(text))
        return [(self.words.index(word), span) for word, span in found if word in self.words]

    def encode_texts(self, texts: Sequence[str], side: Side) -> FloatArray:
        if side == "queries":
            self.queries += texts
        rows = [self.table[[word for word, _ in self._known(text)]].sum(axis=0) for text in texts]
        return np.array(rows, dtype=np.float32).reshape(len(texts), self.table.shape[1])

    def encode(self, collection: Collection, side: Side, rows: IntArray) -> FloatArray:
        texts_of: Any = collection.query_texts if side == "queries" else collection.passage_texts
        asked, found = len(self.queries), self.encode_texts(texts_of(rows), side)
        del self.queries[asked:]
        return found

    def tokens(self, texts: Sequence[str]) -> list[bytes]:
        return [text.encode() for text in texts]

    def word_embeddings(self) -> tuple[list[str], FloatArray]:
        return self.words, self.table

    def _gradients(self, texts: Sequence[str], queries: FloatArray) -> Iterator[TokenGradients]:
        for text, query in zip(texts, queries, strict=True):
            known = self._known(text)
            yield TokenGradients(
                np.array([word for word, _ in known], dtype=np.int64),
                np.array([span for _, span in known], dtype=np.int64).reshape(-1, 2),
                np.tile(query, (len(known), 1)),
            )

"""Rows of sparse vectors in host memory, their scores and what there is to tell of them.

A text is float32[K, 2]: the number of a word plus one, and its weight, for each active word. Zeros at the end
are nothing. Numbers of words are exact in float32 below 2²⁴.
"""

from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from retrieval.data.arrays import FloatArray, within
from retrieval.data.testset import IntArray
from retrieval.models.scores import INDEX_BYTES, Scores, Statistics

MOST_WORDS = 2**24 - 1

NUMBERS_AT_ONCE = 2**24
"""Of dense vectors, where they are made."""

DENSE_FROM = 64
"""A product of a sparse matrix takes as long as so many of a dense one."""

BYTES_A_WEIGHT = 8
"""Of an index: int32 and float32 for each active word of a passage."""


def packed(vectors: Tensor) -> FloatArray:
    """Rows float32[n, K, 2] of vectors ``[n, V]``, 0 or above; K: most active words of a text."""
    values = vectors.float().cpu().numpy()
    texts, words = np.nonzero(values)
    counts = np.bincount(texts, minlength=len(values))
    found = np.zeros((len(values), int(counts.max(initial=0)), 2), np.float32)
    places = within(counts)
    found[texts, places, 0] = words + 1
    found[texts, places, 1] = values[texts, words]
    return found


def unpacked(rows: FloatArray, words: int, device: torch.device) -> Tensor:
    """Vectors float32[n, ``words``] of rows that :func:`packed` made."""
    pairs = torch.tensor(rows, device=device)
    vectors = torch.zeros(len(rows), words + 1, device=device)
    return vectors.scatter_(1, pairs[..., 0].long(), pairs[..., 1])[:, 1:]


class SparseScores(Scores):
    """Inner products of sparse vectors, all of them: the search is exact."""

    def __init__(self, words: int) -> None:
        """``words``: V, numbers of a vector."""
        self._words = words

    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`; by dense vectors where hardly anything is zero, as before training."""
        left, right = self._matrix(queries), self._matrix(passages)
        products = float(_texts_by_word(left) @ _texts_by_word(right))
        if products * DENSE_FROM < float(len(queries)) * len(passages) * self._words:
            found: FloatArray = (left @ right.T).toarray()
            return found
        return self._dense(left, right)

    def pairs(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        products = self._matrix(queries).multiply(self._matrix(passages))
        found: FloatArray = np.asarray(products.sum(axis=1)).ravel()
        return found

    def listed(self, queries: FloatArray, passages: FloatArray, columns: IntArray) -> FloatArray:
        """See :class:`Scores`."""
        left, right = self._matrix(queries), self._matrix(passages)
        found = np.empty(columns.shape, np.float32)
        for index, own in enumerate(columns):
            found[index] = right[np.maximum(own, 0)] @ left[[index]].toarray()[0]
        found[columns < 0] = -np.inf
        return found

    def statistics(self) -> Statistics:
        """Active words and the size of an index."""
        return SparseStatistics(self._words)

    def _dense(self, left: Any, right: Any) -> FloatArray:
        found = np.empty((left.shape[0], right.shape[0]), np.float32)
        step = max(1, NUMBERS_AT_ONCE // self._words)
        for top in range(0, left.shape[0], step):
            queries = left[top : top + step].toarray()
            for start in range(0, right.shape[0], step):
                passages = right[start : start + step].toarray()
                found[top : top + step, start : start + step] = queries @ passages.T
        return found

    def _matrix(self, rows: FloatArray) -> Any:
        return _matrix(rows, self._words)


class SparseStatistics(Statistics):
    """How many words are active, and what that makes of search and index."""

    def __init__(self, words: int) -> None:
        """``words``: V, numbers of a vector."""
        self._words = words
        self._texts = 0
        self._by_word = np.zeros(words, np.int64)

    def take(self, rows: FloatArray, start: int) -> None:
        """See :class:`Statistics`."""
        self._texts += len(rows)
        self._by_word += _texts_by_word(_matrix(rows, self._words))

    def metrics(self, queries: FloatArray) -> dict[str, float]:
        """Mean active words of a text; products that a pair's score takes on average; bytes of the index.

        The products are ``Σ_v p_v·q_v`` of the shares of passages and of queries in which a word is active
        (FLOPS of Paria et al. 2020, arXiv 2004.05665).
        """
        by_query = _texts_by_word(_matrix(queries, self._words))
        texts, active = max(1, self._texts), int(self._by_word.sum())
        queried = max(1, len(queries))
        return {
            "sparse/query_active": float(by_query.sum()) / queried,
            "sparse/passage_active": active / texts,
            "sparse/flops": float((by_query / queried) @ (self._by_word / texts)),
            INDEX_BYTES: float(BYTES_A_WEIGHT * active),
        }


def _matrix(rows: FloatArray, words: int) -> Any:
    """The rows as a SciPy matrix float32[n, ``words``] in compressed rows."""
    present = rows[..., 0] > 0
    ends = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
    numbers = rows[..., 0][present].astype(np.int32) - 1
    return sparse.csr_array((rows[..., 1][present], numbers, ends), shape=(len(rows), words))


def _texts_by_word(matrix: Any) -> Any:
    """In how many rows a word is active: int64[V]."""
    return np.bincount(matrix.indices, minlength=matrix.shape[1])

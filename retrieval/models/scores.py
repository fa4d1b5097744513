"""Scores of encoded texts in host memory, where evaluation, search and attacks take them.

A text is encoded to one row: a vector, a matrix of token vectors, token ids. Only the family of the model
knows what a row holds. Training takes its scores from the model itself (``Scorer.scores``).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from retrieval.data.arrays import FloatArray
from retrieval.data.testset import IntArray
from retrieval.models.flops import Work

INDEX_BYTES = "cost/index_bytes"
"""Size of an exact index of the in-domain test set's candidates."""

_TINY = np.finfo(np.float32).tiny


class Statistics(ABC):
    """What a family tells of the rows of an evaluation set beside their scores."""

    @abstractmethod
    def take(self, rows: FloatArray, start: int) -> None:
        """Take rows float32[m, …] of passages, the next ones of the pool, from position ``start`` on."""

    @abstractmethod
    def metrics(self, queries: FloatArray) -> dict[str, float]:
        """Keys and values for ``result.json``, of rows of queries and of all passages that were taken."""


class IndexBytes(Statistics):
    """How large an exact index of the passages is: their numbers as float32, without padding."""

    def __init__(self, numbers: Callable[[FloatArray], int]) -> None:
        """``numbers``: of rows, how many numbers of theirs an index holds."""
        self._numbers = numbers
        self._held = 0

    def take(self, rows: FloatArray, start: int) -> None:
        """See :class:`Statistics`."""
        self._held += self._numbers(rows)

    def metrics(self, queries: FloatArray) -> dict[str, float]:
        """``cost/index_bytes``."""
        return {INDEX_BYTES: float(np.dtype(np.float32).itemsize * self._held)}


class Scores(ABC):
    """Scores of rows ``[n, …]`` of queries with rows ``[m, …]`` of passages, float32 all of them."""

    by_pair: ClassVar[bool] = False
    """Whether each score takes a forward pass: only those that are needed are asked for then."""
    work: Work = Work()
    """Forward passes of pairs so far."""

    @abstractmethod
    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """Scores of every query with every passage: ``[n, m]``."""

    def pairs(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """Scores of each query with the passage beside it: ``[n]``."""
        return self.listed(queries, passages, np.arange(len(passages))[:, None])[:, 0]

    def listed(self, queries: FloatArray, passages: FloatArray, columns: IntArray) -> FloatArray:
        """Scores of each query with the passages at its row of ``columns``, int64[n, k]: ``[n, k]``.

        A column of −1 is none, and scored −inf.
        """
        found = np.empty(columns.shape, np.float32)
        for index, own in enumerate(columns):
            found[index] = self.matrix(queries[index : index + 1], passages[np.maximum(own, 0)])[0]
        found[columns < 0] = -np.inf
        return found

    def search(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """What :meth:`matrix` gives, in an exact search: large blocks, all threads."""
        return self.matrix(queries, passages)

    def statistics(self) -> Statistics | None:
        """A new collector of what the family tells of rows; ``None``: nothing."""
        return None

    def cosines(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """How alike the passages of two lists are, pair by pair, at most 1: ``[n]``."""
        scale = np.sqrt(np.abs(self.pairs(first, first) * self.pairs(second, second)))
        alike: FloatArray = self.pairs(first, second) / np.maximum(scale, _TINY)
        return alike


class InnerProducts(Scores):
    """Rows are vectors ``[n, d]``, temperature and normalisation already applied."""

    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """By NumPy, which takes memory-mapped rows as they are."""
        scores: FloatArray = queries @ passages.T
        return scores

    def pairs(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        scores: FloatArray = np.einsum("nd,nd->n", queries, passages)
        return scores

    def search(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """By PyTorch, with the threads that it may use; both must be writable memory."""
        scores: FloatArray = (torch.from_numpy(queries) @ torch.from_numpy(passages).T).numpy()
        return scores

    def statistics(self) -> Statistics:
        """The size of the index."""
        return IndexBytes(np.size)

    def cosines(self, first: FloatArray, second: FloatArray) -> FloatArray:
        """See :class:`Scores`; zero vectors are like nothing."""
        return self.pairs(unit(first), unit(second))


INNER_PRODUCTS = InnerProducts()


def unit(vectors: FloatArray) -> FloatArray:
    """``vectors[n, d]`` of length 1; zero vectors stay zero."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: FloatArray = vectors / np.maximum(lengths, _TINY)
    return result


class TensorScores(Scores):
    """Scores by operations on tensors, on their device."""

    def __init__(
        self,
        matrix: Callable[[Tensor, Tensor], Tensor],
        pairs: Callable[[Tensor, Tensor], Tensor],
        from_host: Callable[[FloatArray], Tensor],
    ) -> None:
        """Those of ``Scorer``: ``scores``, ``pair_scores`` and ``from_host``."""
        self._matrix = matrix
        self._pairs = pairs
        self._from_host = from_host

    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        return self._taken(self._matrix, queries, passages)

    def pairs(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        return self._taken(self._pairs, queries, passages)

    def _taken(self, scored: Callable[[Tensor, Tensor], Tensor], *rows: FloatArray) -> FloatArray:
        with torch.inference_mode():
            queries, passages = map(self._from_host, rows)
            scores: FloatArray = scored(queries, passages).cpu().numpy()
        return scores

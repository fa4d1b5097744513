"""Scores that take a forward pass of the pair, for rows in host memory."""

from __future__ import annotations

import numpy as np
import torch

from retrieval.data.arrays import FloatArray
from retrieval.data.testset import IntArray
from retrieval.models.flops import Work
from retrieval.models.scorer import Scorer
from retrieval.models.scores import Scores

PAIRS_AT_ONCE = 16_384
"""Pairs that are joined and sorted by length together: bounds the memory."""


class PairScores(Scores):
    """Rows are what a scorer joins pairs of; only pairs that are asked for are scored, without dropout."""

    by_pair = True

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.work = Work()
        """Forward passes so far."""

    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        """See :class:`Scores`."""
        return self.listed(queries, passages, np.tile(np.arange(len(passages)), (len(queries), 1)))

    def listed(self, queries: FloatArray, passages: FloatArray, columns: IntArray) -> FloatArray:
        """See :class:`Scores`; reads the rows of listed passages alone, and sorts all pairs by length."""
        step = max(1, PAIRS_AT_ONCE // max(1, columns.shape[1]))
        spans = [slice(start, start + step) for start in range(0, len(queries), step)]
        parts = [self._listed(queries[span], passages, columns[span]) for span in spans]
        return np.concatenate(parts) if parts else np.empty(columns.shape, np.float32)

    def _listed(self, queries: FloatArray, passages: FloatArray, columns: IntArray) -> FloatArray:
        scorer, listed = self._scorer, columns >= 0
        used, places = np.unique(columns[listed], return_inverse=True)
        own = np.full(columns.shape, -1, dtype=np.int64)
        own[listed] = places
        rows = np.asarray(queries, np.float32), np.asarray(passages[used], np.float32)
        sizes = [(side[..., 0] > 0).sum(1) for side in rows]
        self.work += scorer.scoring_work(sizes[0], sizes[1], own)
        training = scorer.training
        scorer.eval()
        try:
            with torch.inference_mode(), scorer.unchanged():
                found = scorer.listed_scores(scorer.from_host(rows[0]), scorer.from_host(rows[1]), own)
                scores: FloatArray = found.cpu().numpy()
        finally:
            scorer.train(training)
        return scores

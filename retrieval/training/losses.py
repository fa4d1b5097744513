"""Ranking losses."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def contrastive_loss(
    scores: Tensor, labels: Tensor, excluded: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy of each query's positive among the passages of the batch.

    ``scores``: float32 ``[n, m]`` of n queries and m passages; ``labels``: int64 ``[n]``, column of the
    positive; ``excluded``: bool ``[n, m]``, relevant passages of a query other than its positive, which are
    no negatives. Natural log, mean over queries (arXiv 2403.18684, eq. 5, with in-batch negatives);
    ``weights``: ``[n]``, summing to one, in place of the mean.
    """
    scores = scores.masked_fill(excluded, float("-inf"))
    if weights is None:
        return F.cross_entropy(scores, labels)
    return torch.sum(weights * F.cross_entropy(scores, labels, reduction="none"))

"""The ranking loss, and the rows of a step that several processes encode for it.

Each process gets all rows, with the gradient of its own. Where scores have parameters, too, each process
scores its own queries alone.
"""

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from retrieval.data.batches import RankingBlock, Shard
from retrieval.models.scorer import Scorer, widened


def contrastive_loss(
    scores: Tensor, labels: Tensor, excluded: Tensor, weights: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy of each query's positive among the passages of the batch.

    ``scores``: float32[n, m] of n queries and m passages; ``labels``: int64[n], column of the
    positive; ``excluded``: bool[n, m], relevant passages of a query other than its positive, which are
    no negatives. Natural log, mean over queries (arXiv 2403.18684, eq. 5, with in-batch negatives);
    ``weights``: ``[n]``, summing to one, in place of the mean.
    """
    scores = scores.masked_fill(excluded, float("-inf"))
    if weights is None:
        return F.cross_entropy(scores, labels)
    return torch.sum(weights * F.cross_entropy(scores, labels, reduction="none"))


def ranking_loss(
    scorer: Scorer, queries: Tensor, passages: Tensor, block: RankingBlock, own: Tensor | None = None
) -> Tensor:
    """Contrastive loss of a block's rows ``[n, …]`` and ``[m, …]``: 0-d, the mean over the queries.

    Each query is scored with the passages that the family chooses (:meth:`Scorer.columns`).

    ``own``: int64[k], the queries that this process scores. The loss is that of all processes' queries, and
    its gradient that of these; ``None``: all.
    """
    columns = scorer.columns(block)
    labels, excluded = block.labels, block.excluded
    if columns is None:
        return contrastive_loss(scorer.scores(queries, passages), labels, excluded)
    places = torch.from_numpy(columns).to(labels.device)
    labels = torch.zeros_like(labels)
    excluded = excluded.gather(1, places.clamp_min(0)) | (places < 0)
    if own is None:
        return contrastive_loss(scorer.listed_scores(queries, passages, columns), labels, excluded)
    scores = scorer.listed_scores(queries[own], passages, columns[own.cpu().numpy()])
    shares = scores.new_full((len(own),), 1 / len(queries))
    loss = contrastive_loss(scores, labels[own], excluded[own], shares)
    return summed(loss.detach()) + (loss - loss.detach())


def own_queries(scorer: Scorer, block: RankingBlock, shard: Shard | None) -> Tensor | None:
    """The queries of a block that this process scores, int64[k]; ``None``: all, as scores have no parameters.

    Of scores by pair each process computing all would multiply the gradients of the weights.
    """
    if shard is None or not scorer.by_pair:
        return None
    return (shard.order[block.queries] // shard.width == shard.rank).nonzero()[:, 0]


def processes() -> int:
    """Processes that train this run together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(value: Tensor) -> Tensor:
    """The sum of a number over the processes."""
    if processes() > 1:
        value = value.clone()
        distributed.all_reduce(value)
    return value


def gathered(rows: Tensor, shard: Shard | None) -> Tensor:
    """Encoded rows of all sequences of the step in the caller's order, ``[N, …]``.

    ``rows``: those of this process's sequences, ``[n, …]``. Only they carry a gradient: the sum over the
    processes of the gradients that the parameters get is that of the whole step, and nothing needs to be
    sent back.
    """
    if shard is None:
        return rows
    if rows.ndim > 2:
        most = torch.tensor(rows.shape[1], device=rows.device)
        distributed.all_reduce(most, distributed.ReduceOp.MAX)
        rows = widened(rows, int(most))
    own = F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, shard.width - len(rows)))
    parts = [torch.empty_like(own) for _ in range(processes())]
    distributed.all_gather(parts, own.detach())
    parts[shard.rank] = own
    return torch.cat(parts)[shard.order]

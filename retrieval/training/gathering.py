"""Vectors of a step that several processes encode: each gets all of them, with the gradient of its own."""

from __future__ import annotations

import torch
from torch import Tensor, distributed
from torch.nn import functional as F

from retrieval.data.batches import Shard


def processes() -> int:
    """Processes that train this run together."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def summed(value: Tensor) -> Tensor:
    """The sum of a number over the processes."""
    if processes() > 1:
        value = value.clone()
        distributed.all_reduce(value)
    return value


def gathered(vectors: Tensor, shard: Shard | None) -> Tensor:
    """Vectors of all sequences of the step in the caller's order, ``[N, d]``.

    ``vectors``: those of this process's sequences, ``[n, d]``. Only they carry a gradient: the sum over the
    processes of the gradients that the parameters get is that of the whole step, and nothing needs to be
    sent back.
    """
    if shard is None:
        return vectors
    own = F.pad(vectors, (0, 0, 0, shard.width - len(vectors)))
    parts = [torch.empty_like(own) for _ in range(processes())]
    distributed.all_gather(parts, own.detach())
    parts[shard.rank] = own
    return torch.cat(parts)[shard.order]

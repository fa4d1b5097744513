"""Attention over packed sequences on a GPU: one kernel for all of them, without padding, slots or masks.

The kernels are those of FlashAttention (Dao 2023, arXiv 2307.08691) that PyTorch is built with. PyTorch's own
front, ``torch.nn.attention.varlen``, takes no dropout of the attention weights, which BERT is trained with;
its operator does, and has a gradient.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.data.layout import TokenBatch


@dataclass(frozen=True)
class Sequences:
    """Where the sequences of a batch stand among its tokens; its blank ones are a sequence of their own."""

    bounds: Tensor
    """Begin of each, and the end of the last: int32[n + 2]."""
    longest: int
    heads: int

    @classmethod
    def of(cls, batch: TokenBatch, heads: int) -> "Sequences":
        """Of a batch, on its device; nothing is read from there."""
        blank = len(batch.ids) - batch.tokens
        ends = batch.lengths.cumsum(0, dtype=torch.int32)
        return cls(
            F.pad(F.pad(ends, (1, 0)), (0, 1), value=len(batch.ids)),
            max(int(batch.sizes.max(initial=1)), blank),
            heads,
        )


WIDE_HEADS = ((8, 0), (9, 0))
"""Compute capabilities of GPUs on which gradients of heads wider than 192 are computed."""


def supports(hidden: Tensor, heads: int) -> bool:
    """Whether :func:`attention` takes tokens ``[T, hidden]`` of that type and place."""
    size = hidden.shape[1] // heads
    if hidden.dtype != torch.bfloat16 or not hidden.is_cuda or size % 8 or size > 256:
        return False
    capability = torch.cuda.get_device_capability(hidden.device)
    if size > 192 and capability not in WIDE_HEADS:
        return False
    return capability >= (8, 0) and torch.backends.cuda.is_flash_attention_available()


def attention(projected: Tensor, sequences: Sequences, p: float) -> Tensor:
    """Context of every token ``[T, hidden]``, bfloat16.

    ``projected``: ``[T, 3·hidden]``, query (already divided by the root of a head's size), key and value of
    each token; ``p``: share of the attention weights to drop.
    """
    query, key, value = projected.view(len(projected), 3, sequences.heads, -1).unbind(1)
    bounds, longest = sequences.bounds, sequences.longest
    context: Tensor = torch.ops.aten._flash_attention_forward(
        query, key, value, bounds, bounds, longest, longest, p, False, False, scale=1.0
    )[0]
    return context.reshape(len(projected), -1)

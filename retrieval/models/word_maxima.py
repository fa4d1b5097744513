"""The largest logit of each word among the tokens of a text, without the logits of all tokens at once.

Logits of ``T`` tokens are ``T·V`` numbers: 0.4 GB for 6,000 tokens and 16,384 words. Here they are made for
some words at a time and forgotten. The backward pass makes none: the gradient of a maximum flows through one
token, whose place is kept.
"""

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

LOGITS_AT_ONCE = 2**20
"""They stay in the cache of a core."""
LOGITS_AT_ONCE_ON_GPU = 2**26
WORD_MULTIPLE = 64
"""Matrix products then have few shapes."""


def word_maxima(states: Tensor, table: Tensor, sizes: NDArray[np.int64]) -> Tensor:
    """Largest inner product of each word with a token of each text: float32[n, V].

    Of tokens that are equally large the gradient takes one.

    Args:
        states: ``[T, d]`` in the type of the matrix product; the tokens of one text after the other, then
            any others, which belong to none.
        table: float32[V, d], a vector a word.
        sizes: int64[n], tokens of each text, ascending.
    """
    record = torch.is_grad_enabled() and (states.requires_grad or table.requires_grad)
    found: Tensor = _WordMaxima.apply(states, table, sizes, record)  # type: ignore[no-untyped-call]
    return found


class _WordMaxima(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, sizes: NDArray[np.int64], record: bool) -> Tensor:
        words, texts = len(table), len(sizes)
        found = torch.empty(texts, words, device=states.device)
        tokens = torch.empty(texts, words, device=states.device, dtype=torch.int32) if record else None
        cast, runs = table.to(states.dtype), _runs(sizes)
        starts = torch.from_numpy(np.cumsum(sizes) - sizes).to(states.device)[:, None]
        step = _words_at_once(states)
        for start in range(0, words, step):
            span = slice(start, min(start + step, words))
            logits = states @ cast[span].T
            for first, last, begin in runs:
                size = int(sizes[first])
                own = logits[begin : begin + (last - first) * size].view(last - first, size, -1)
                if tokens is None:
                    found[first:last, span] = own.amax(1)
                else:
                    values, places = own.max(1)
                    found[first:last, span] = values
                    tokens[first:last, span] = places + starts[first:last]
        if tokens is not None:
            ctx.save_for_backward(states, table, tokens)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        states, table, tokens = ctx.saved_tensors
        (gradient,) = gradients
        # Words without weight have no gradient: most of them, as soon as there is anything sparse.
        rows, words = gradient.nonzero(as_tuple=True)
        values, places = gradient[rows, words], tokens[rows, words].long()
        of_states = of_table = None
        if ctx.needs_input_grad[0]:
            of_states = _weighted_sums(places, words, values, table, len(states)).to(states.dtype)
        if ctx.needs_input_grad[1]:
            of_table = _weighted_sums(words, places, values, states.float(), len(table))
        return of_states, of_table, None, None


def _words_at_once(states: Tensor) -> int:
    at_once = LOGITS_AT_ONCE if states.device.type == "cpu" else LOGITS_AT_ONCE_ON_GPU
    return max(at_once // max(1, len(states)) // WORD_MULTIPLE, 1) * WORD_MULTIPLE


def _runs(sizes: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Texts of the same size that follow one another: the first, the one after the last, the first token."""
    bounds = [0, *(np.flatnonzero(np.diff(sizes)) + 1).tolist(), len(sizes)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    return [(first, last, int(starts[first])) for first, last in pairwise(bounds)]


def _weighted_sums(into: Tensor, of: Tensor, weights: Tensor, rows: Tensor, count: int) -> Tensor:
    """``Σ weights[i]·rows[of[i]]`` over the ``i`` with ``into[i] = r``, for each ``r``: ``[count, d]``."""
    order = torch.argsort(into, stable=True)
    ends = torch.bincount(into, minlength=count).cumsum(0)
    offsets = F.pad(ends, (1, 0))
    return F.embedding_bag(
        of[order],
        rows,
        offsets,
        mode="sum",
        per_sample_weights=weights[order],
        include_last_offset=True,
    )

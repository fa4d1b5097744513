"""MaxSim: each token of a query finds its most similar one of the passage, and the similarities add up.

    s(q, p) = Σ_i max_j ⟨q_i, p_j⟩

(ColBERT, Khattab and Zaharia 2020, arXiv 2004.12832, eq. 3). A text is a row ``[L, d + 2]``: of each token
its vector, then whether it counts where the text is a query, and where it is a passage. Zeros fill a row up.
A passage of which no token counts scores 0.

The similarities of all pairs of tokens, ``[Σ Lq, Σ Lp]``, exist a block at a time. Tokens that do not count
and padding are left out before the matrix product, and passages of similar length share a block.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

FLAGS = 2
"""Numbers of a token beside its vector."""
AS_QUERY, AS_PASSAGE = -2, -1
"""Places of these numbers."""

QUERY_TOKENS = 1024
"""Tokens of queries that are compared together: as many rows keep a matrix product efficient."""
ELEMENTS = {"cpu": 2**21}
"""Similarities of a block: 8 MB stay in a processor's cache from the product to the maximum."""
ELEMENTS_ELSEWHERE = 2**27
"""On a GPU, which wants large products: 512 MB."""
WIDER, WIDER_ELSEWHERE = 1.3, 4.0
"""The longest passage of a block has at most so many times as many tokens as the shortest, or 8 more; on a
GPU, where a block costs its launches rather than its padding, there are fewer blocks."""


def max_sim(queries: Tensor, passages: Tensor) -> Tensor:
    """MaxSim of rows ``[n, Lq, d + 2]`` of queries with rows ``[m, Lp, d + 2]`` of passages: ``[n, m]``.

    The backward pass keeps the place of each maximum, int32[Σ Lq, m]. A gradient flows to the pairs of tokens
    that are maxima, the first where several are equal.
    """
    found: Tensor = _MaxSim.apply(queries, passages)  # type: ignore[no-untyped-call]
    return found


def paired_max_sim(queries: Tensor, passages: Tensor) -> Tensor:
    """MaxSim of each row ``[n, Lq, d + 2]`` with the passage beside it, ``[n, Lp, d + 2]``: ``[n]``."""
    similar = queries[..., :-FLAGS] @ passages[..., :-FLAGS].mT
    counts = passages[..., AS_PASSAGE] != 0
    best = similar.masked_fill(~counts[:, None], float("-inf")).amax(-1)
    best = best.masked_fill(~counts.any(1, keepdim=True), 0.0)
    return (best * queries[..., AS_QUERY]).sum(1)


class _Tokens(NamedTuple):
    """The tokens that count of some rows ``[n, L, d + 2]``, one after the other."""

    vectors: Tensor
    """``[T, d]``"""
    places: Tensor
    """int64[T] among the n·L tokens of the rows."""
    counts: Tensor
    """int64[n]"""

    @classmethod
    def of(cls, rows: Tensor, flag: int) -> "_Tokens":
        counted = rows[..., flag] != 0
        places = counted.flatten().nonzero()[:, 0]
        vectors = rows.flatten(0, 1)[:, :-FLAGS].index_select(0, places)
        return cls(vectors, places, counted.sum(1))

    def owners(self) -> Tensor:
        """The row of each token: int64[T]."""
        rows = torch.arange(len(self.counts), device=self.counts.device)
        return rows.repeat_interleave(self.counts, output_size=len(self.places))

    def to_rows(self, gradients: Tensor, rows: Tensor) -> Tensor:
        """Gradients ``[T, d]`` of the vectors as those of the rows they were taken from."""
        flat = rows.new_zeros(rows.shape[0] * rows.shape[1], rows.shape[2])
        flat[self.places, :-FLAGS] = gradients
        return flat.view_as(rows)


class _Block(NamedTuple):
    """Some passages, padded to the longest by their own first token, which changes no maximum."""

    columns: slice
    """Which they are among the passages by length."""
    tokens: Tensor
    """int64[k, width] among the tokens of all passages."""


class _Passages:
    """Passages by length, and which of their tokens stand in which block."""

    def __init__(self, tokens: _Tokens, elements: int) -> None:
        """``elements``: tokens of a block at most, unless one passage has more."""
        self.tokens = tokens
        counts = tokens.counts.cpu().numpy()
        order = np.argsort(counts, kind="stable")
        device = tokens.vectors.device
        self.order = torch.from_numpy(order).to(device)
        self.none = tokens.counts == 0
        self._starts = (tokens.counts.cumsum(0) - tokens.counts)[self.order]
        self._lengths = tokens.counts[self.order]
        self._ordered = counts[order]
        self._elements = elements
        self._wider = WIDER if device.type == "cpu" else WIDER_ELSEWHERE

    def blocks(self) -> Iterator[_Block]:
        """All passages in which a token counts."""
        start = int(np.searchsorted(self._ordered, 1))
        while start < len(self._ordered):
            shortest = int(self._ordered[start])
            longest = max(int(shortest * self._wider), shortest + 8)
            stop = int(np.searchsorted(self._ordered, longest, side="right"))
            widths = self._ordered[start:stop].astype(np.int64)
            sizes = np.arange(1, len(widths) + 1) * widths
            stop = start + max(1, int(np.searchsorted(sizes, self._elements, side="right")))
            width = int(self._ordered[stop - 1])
            columns = slice(start, stop)
            places = torch.arange(width, device=self._starts.device)
            inside = places < self._lengths[columns, None]
            yield _Block(columns, self._starts[columns, None] + places * inside)
            start = stop


def _spans(counts: Tensor) -> list[slice]:
    """Consecutive queries of about :data:`QUERY_TOKENS` tokens together."""
    ends = np.cumsum(counts.cpu().numpy())
    spans, start = [], 0
    while start < len(ends):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + QUERY_TOKENS, side="right")))
        spans.append(slice(start, stop))
        start = stop
    return spans


def _maxima(
    queries: Tensor, passages: Tensor, keep: bool
) -> tuple[Tensor, Tensor | None, _Tokens, _Passages]:
    """Scores ``[n, m]``, and with ``keep`` the token of each maximum int32[Σ Lq, m], passages by length."""
    own = _Tokens.of(queries, AS_QUERY)
    device = queries.device.type
    spans = _spans(own.counts) if device == "cpu" else [slice(0, len(queries))]
    ends = np.concatenate([[0], np.cumsum(own.counts.cpu().numpy())])
    rows = max((int(ends[span.stop] - ends[span.start]) for span in spans), default=1)
    elements = ELEMENTS.get(device, ELEMENTS_ELSEWHERE) // max(1, rows)
    others = _Passages(_Tokens.of(passages, AS_PASSAGE), elements)
    scores = queries.new_zeros(len(queries), len(passages))
    kept = None
    if keep:
        kept = torch.zeros(len(own.places), len(passages), dtype=torch.int32, device=queries.device)
    # Where each token of a query stands in a table [n, width] of them.
    width = queries.shape[1]
    for block in others.blocks():
        vectors = others.tokens.vectors.index_select(0, block.tokens.flatten()).T
        for span in spans:
            tokens = slice(int(ends[span.start]), int(ends[span.stop]))
            similar = (own.vectors[tokens] @ vectors).view(-1, *block.tokens.shape)
            if kept is None:
                best = similar.amax(-1)
            else:
                best, at = similar.max(-1)
                kept[tokens, block.columns] = block.tokens.T.gather(0, at).int()
            table = best.new_zeros((span.stop - span.start) * width, best.shape[1])
            table[own.places[tokens] - span.start * width] = best
            scores[span, block.columns] = table.view(span.stop - span.start, width, -1).sum(1)
    back = torch.empty_like(others.order)
    back[others.order] = torch.arange(len(back), device=back.device)
    return scores[:, back], kept, own, others


class _MaxSim(torch.autograd.Function):
    """See :func:`max_sim`."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, passages: Tensor) -> Tensor:
        """See :func:`max_sim`."""
        needed = any(ctx.needs_input_grad)
        scores, kept, own, others = _maxima(queries, passages, needed)
        if needed:
            ctx.save_for_backward(queries, passages, kept)
            ctx.parts = own, others
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Sums of vectors, weighted by the gradients ``[n, m]``, over the pairs that are maxima."""
        queries, passages, kept = ctx.saved_tensors
        own, others = ctx.parts
        if not len(own.places) or not len(others.tokens.places):
            return torch.zeros_like(queries), torch.zeros_like(passages)
        by_length = gradients.masked_fill(others.none, 0.0)[:, others.order]
        weights = by_length[own.owners()]
        of_queries = of_passages = None
        if ctx.needs_input_grad[0]:
            sums = F.embedding_bag(kept, others.tokens.vectors, per_sample_weights=weights, mode="sum")
            of_queries = own.to_rows(sums, queries)
        if ctx.needs_input_grad[1]:
            tokens, order = kept.flatten().sort(stable=True)
            numbers = torch.arange(len(others.tokens.places), device=tokens.device, dtype=tokens.dtype)
            sums = F.embedding_bag(
                order // kept.shape[1],
                own.vectors,
                offsets=torch.searchsorted(tokens, numbers),
                per_sample_weights=weights.flatten()[order],
                mode="sum",
            )
            of_passages = others.tokens.to_rows(sums, passages)
        return of_queries, of_passages

"""Attention within sequences: tokens to slots by head, the products over these, and back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from retrieval.data.layout import Group, TokenBatch
from retrieval.data.routes import Route
from retrieval.models.cpu.dropout import keep, keep_, keep_mask, scale_kept


@dataclass(frozen=True)
class HeadSlots:
    """What the layers of a forward pass share: routes to slots by head, and the scores' biases.

    The slots of a group by head, ``[count, heads, width]``, are consecutive rows of one head's size ``d``, so
    that batched products read them where they lie.
    """

    projections: Route
    """Query, key and value: tokens ``[T·3·heads, d]``, slots ``[3·S·heads, d]``."""
    contexts: Route
    """Tokens ``[T·heads, d]``, slots ``[S·heads, d]``."""
    groups: tuple[Group, ...]
    biases: tuple[Tensor | None, ...]
    """What is added to the scores of each group, ``[count, 1, 1, width]``: −∞ where nothing attends to."""
    heads: int

    @classmethod
    def of(cls, batch: TokenBatch, heads: int, dtype: torch.dtype) -> HeadSlots:
        """Of a batch, on its device."""
        head = torch.arange(heads, device=batch.ids.device)
        third = torch.arange(3, device=head.device)[:, None]

        def rows(factor: int) -> Tensor:
            """Of each slot by head, the row of its token, where every token has ``factor`` of them."""
            tokens = (
                batch.places[group.start : group.stop].view(-1, 1, group.width) for group in batch.groups
            )
            return torch.cat([(part * factor + head[:, None]).flatten() for part in tokens])

        # With heads before positions, a sequence begins `heads` times as far from the start.
        starts = (batch.slots - batch.positions) * heads + batch.positions
        slot = starts[:, None] + head * batch.widths[:, None]
        projections = Route(
            (third * heads + rows(3 * heads)).flatten(),
            (third * (len(batch.places) * heads) + slot[:, None, :]).flatten(),
            batch.tokens * 3 * heads,
        )
        contexts = Route(rows(heads), slot.flatten(), batch.tokens * heads)
        biases = tuple(_bias(batch, group, dtype) for group in batch.groups)
        return cls(projections, contexts, batch.groups, biases, heads)


def _bias(batch: TokenBatch, group: Group, dtype: torch.dtype) -> Tensor | None:
    unseen = batch.unseen_slots(group)
    if group.padded:
        padding = ~batch.mask(group)
        unseen = padding if unseen is None else padding | unseen
    if unseen is None:
        return None
    unseen = unseen[:, None, None, :]
    return torch.zeros(unseen.shape, dtype=dtype, device=unseen.device).masked_fill(unseen, float("-inf"))


def attention(projected: Tensor, slots: HeadSlots, p: float) -> Tensor:
    """Context of every token ``[T, hidden]``, in the type of ``projected``.

    ``projected``: ``[T, 3·hidden]``, query (already divided by the root of a head's size), key and value of
    each token; ``p``: share of the attention weights to drop.
    """
    size = projected.shape[1] // (3 * slots.heads)
    by_head = slots.projections.to_slots(projected.reshape(-1, size)).view(3, -1, size)
    contexts = []
    for group, bias, parts in _by_group(slots, by_head):
        query, key, value = (part.view(group.count, slots.heads, group.width, size) for part in parts)
        context = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=p, scale=1.0)
        contexts.append(context.reshape(-1, size))
    return slots.contexts.to_tokens(torch.cat(contexts)).view(len(projected), -1)


def attend(projected: Tensor, slots: HeadSlots, p: float) -> tuple[Tensor, list[Tensor]]:
    """What :func:`attention` computes, by batched products, and what :func:`attend_backward` needs of it.

    In bfloat16 on a CPU the backward pass of PyTorch's fused kernel is 5-10 times slower than these products.
    No gradient is recorded. The softmax is computed in fp32.
    """
    heads = slots.heads
    size = projected.shape[1] // (3 * heads)
    by_head = slots.projections.gathered(projected.view(-1, size)).view(3, -1, size)
    context = torch.empty_like(by_head[0])
    saved = [by_head]
    for group, bias, parts in _by_group(slots, by_head, context[None]):
        query, key, value, into = (part.view(-1, group.width, size) for part in parts)
        scores = torch.bmm(query, key.transpose(1, 2))
        if bias is not None:
            scores.view(group.count, heads, group.width, group.width).add_(bias)
        weights = torch.softmax(scores, -1)
        saved.append(weights)
        if p > 0:
            mask = keep_mask(weights.shape, p, weights.dtype)
            weights = keep(weights, mask)
            saved.append(mask)
        _product(weights, value, scale_kept(p), into)
    return slots.contexts.returned(context).view(len(projected), -1), saved


def attend_backward(gradient: Tensor, saved: list[Tensor], slots: HeadSlots, p: float) -> Tensor:
    """Gradient of the projections ``[T, 3·hidden]``, from that of the contexts ``[T, hidden]``."""
    by_head, *others = saved
    size, rest, scale = by_head.shape[2], iter(others), scale_kept(p)
    of_context = slots.contexts.gathered(gradient.view(-1, size))
    result = torch.empty_like(by_head)
    for group, _, parts in _by_group(slots, by_head, of_context[None], result):
        query, key, value, outer, *into = (part.view(-1, group.width, size) for part in parts)
        weights = next(rest)
        mask = next(rest) if p > 0 else None
        used = weights if mask is None else keep(weights, mask)
        of_weights = _product(outer, value.transpose(1, 2), scale, torch.empty_like(weights))
        if mask is not None:
            keep_(of_weights, mask)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        torch.bmm(of_scores, key, out=into[0])
        torch.bmm(of_scores.transpose(1, 2), query, out=into[1])
        _product(used.transpose(1, 2), outer, scale, into[2])
    return slots.projections.returned(result.view(-1, size)).view(len(gradient), -1)


def _product(left: Tensor, right: Tensor, scale: float, into: Tensor) -> Tensor:
    """``scale·left·right`` of every matrix, in the place of ``into``; the factor costs nothing."""
    return torch.baddbmm(into, left, right, beta=0, alpha=scale, out=into)


def _by_group(slots: HeadSlots, *stacks: Tensor) -> Iterator[tuple[Group, Tensor | None, list[Tensor]]]:
    """Each group, its bias, and its rows of every stack's matrices ``[k, S·heads, d]``."""
    for group, bias in zip(slots.groups, slots.biases, strict=True):
        rows = slice(group.start * slots.heads, group.stop * slots.heads)
        yield group, bias, [matrix[rows] for stack in stacks for matrix in stack]

"""Attention within sequences over the grouped layout, for bfloat16 on a CPU.

One operation for all groups of a layer: PyTorch's fused kernel has a backward pass some 5-10 times slower
than these products there, and one graph node a group and step costs copies that this does without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from retrieval.models.dropout import Kept
from retrieval.models.layout import Group


def grouped_attention(
    projected: Tensor, groups: Sequence[Group], biases: Sequence[Tensor | None], heads: int, p: float
) -> Tensor:
    """Context of every token: bfloat16 ``[T, hidden]``.

    ``projected``: bfloat16 ``[T, 3·hidden]``, query (already divided by the root of a head's size), key and
    value of each token; ``biases``: added to the scores of a group, ``[n, 1, 1, width]``; ``p``: share of the
    attention weights to drop. The softmax is computed in fp32.
    """
    context: Tensor = _GroupedAttention.apply(projected, groups, biases, heads, p)  # type: ignore[no-untyped-call]
    return context


class _GroupedAttention(torch.autograd.Function):
    """Forward and backward pass; saves per group query, key, value, weights and what dropout kept."""

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        groups: Sequence[Group],
        biases: Sequence[Tensor | None],
        heads: int,
        p: float,
    ) -> Tensor:
        context = projected.new_empty(len(projected), projected.shape[1] // 3)
        saved: list[Tensor] = []
        ctx.scales = []
        for group, bias in zip(groups, biases, strict=True):
            part = _of(projected, group).view(group.count, group.width, 3, heads, -1)
            stacked = part.permute(2, 0, 3, 1, 4).reshape(3, group.count * heads, group.width, -1)
            query, key, value = stacked
            scores = torch.bmm(query, key.transpose(1, 2))
            if bias is not None:
                scores.view(group.count, heads, group.width, group.width).add_(bias)
            weights = torch.softmax(scores, -1)
            saved += [stacked, weights]
            if p > 0:
                kept = Kept.draw(weights.shape, p)
                weights = kept.of(weights)
                saved.append(kept.mask)
                ctx.scales.append(kept.scale)
            _by_token(context, group, heads).copy_(_by_head(torch.bmm(weights, value), heads))
        ctx.save_for_backward(*saved)
        ctx.groups, ctx.heads, ctx.dropped = groups, heads, p > 0
        return context

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        heads: int = ctx.heads
        gradient = gradient.contiguous()
        result = gradient.new_empty(len(gradient), 3 * gradient.shape[1])
        saved = iter(ctx.saved_tensors)
        for index, group in enumerate(ctx.groups):
            (query, key, value), weights = next(saved), next(saved)
            kept = Kept(next(saved), ctx.scales[index]) if ctx.dropped else None
            of_context = _by_token(gradient, group, heads).transpose(1, 2).reshape_as(query)
            used = weights if kept is None else kept.of(weights)
            of_weights = torch.bmm(of_context, value.transpose(1, 2))
            if kept is not None:
                of_weights = kept.of(of_weights)
            of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
            into = _of(result, group).view(group.count, group.width, 3, heads, -1)
            for slot, values in enumerate(
                (
                    torch.bmm(of_scores, key),
                    torch.bmm(of_scores.transpose(1, 2), query),
                    torch.bmm(used.transpose(1, 2), of_context),
                )
            ):
                into[:, :, slot].copy_(_by_head(values, heads))
        return result, None, None, None, None


def _of(flat: Tensor, group: Group) -> Tensor:
    """The tokens of a group, a view ``[n, width, …]``."""
    return flat[group.start : group.stop].view(group.count, group.width, -1)


def _by_token(flat: Tensor, group: Group, heads: int) -> Tensor:
    """View ``[n, width, heads, d]`` of a group's rows."""
    return _of(flat, group).view(group.count, group.width, heads, -1)


def _by_head(values: Tensor, heads: int) -> Tensor:
    """``[n·heads, width, d]`` as a view ``[n, width, heads, d]``."""
    width, size = values.shape[1:]
    return values.view(-1, heads, width, size).transpose(1, 2)

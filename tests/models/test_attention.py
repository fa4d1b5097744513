"""Attention over slots against the textbook formula for one sequence after the other, in fp32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from retrieval.data.layout import TokenBatch, group_tokens
from retrieval.models.cpu.attention import HeadSlots, attend, attend_backward, attention
from retrieval.models.cpu.dropout import keep_mask, scale_kept

HEADS, SIZE = 2, 16
LENGTHS = np.array([3, 8, 32, 5, 40, 33, 1, 31] * 5)


def batch_of(lengths: np.ndarray) -> TokenBatch:
    return group_tokens(np.ones(lengths.sum(), dtype=np.int64), lengths, group_cost=100)


def textbook(projected: Tensor, batch: TokenBatch, p: float) -> Tensor:
    """``p``: share of the weights to drop, those that the present seed drops."""
    shapes = [torch.Size((group.count * HEADS, group.width, group.width)) for group in batch.groups]
    kept = [keep_mask(shape, p, torch.bfloat16) for shape in shapes] if p else None
    context = torch.zeros(len(projected), HEADS * SIZE)
    starts = batch.starts().tolist()
    for index, group in enumerate(batch.groups):
        for k in range(group.count):
            first, stop = starts[group.first + k : group.first + k + 2]
            length = stop - first
            query, key, value = projected[first:stop].view(length, 3, HEADS, SIZE).permute(1, 2, 0, 3)
            weights = (query @ key.transpose(1, 2)).softmax(-1)
            if kept is not None:
                mask = kept[index].view(group.count, HEADS, group.width, group.width)[k]
                weights = weights * (mask[:, :length, :length] != 0) * scale_kept(p)
            context[first:stop] = (weights @ value).transpose(0, 1).reshape(length, -1)
    return context


def projections(batch: TokenBatch, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Random ones, and random gradients of the contexts, zero at blank tokens as they are in a model."""
    torch.manual_seed(0)
    projected = torch.randn(len(batch.ids), 3 * HEADS * SIZE).mul_(0.5).to(dtype).requires_grad_()
    toward = torch.randn(len(batch.ids), HEADS * SIZE).to(dtype)
    toward[batch.tokens :] = 0
    return projected, toward


def reference(projected: Tensor, toward: Tensor, batch: TokenBatch, p: float) -> tuple[Tensor, Tensor]:
    """Contexts and gradient of the projections by the formula, with the weights that the seed 1 drops."""
    torch.manual_seed(1)
    values = projected.detach().float().requires_grad_()
    expected = textbook(values, batch, p)
    (gradient,) = torch.autograd.grad(expected, values, toward.float())
    return expected.detach(), gradient


def assert_near(found: Tensor, expected: Tensor, batch: TokenBatch, tolerance: float) -> None:
    assert (found.float() - expected).norm() / expected.norm() < tolerance
    assert not found[batch.tokens :].any()


def test_values_and_gradients_are_those_of_the_formula() -> None:
    batch = batch_of(LENGTHS)
    assert len(batch.groups) > 1
    projected, toward = projections(batch, torch.float32)
    context = attention(projected, HeadSlots.of(batch, HEADS, torch.float32), 0.0)
    (gradient,) = torch.autograd.grad(context, projected, toward)
    expected, of_projected = reference(projected, toward, batch, 0.0)
    assert_near(context.detach(), expected, batch, 1e-5)
    assert_near(gradient, of_projected, batch, 1e-5)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
def test_batched_products_are_as_near_to_the_formula_as_bf16_allows(p: float) -> None:
    batch = batch_of(LENGTHS)
    projected, toward = (part.detach() for part in projections(batch, torch.bfloat16))
    slots = HeadSlots.of(batch, HEADS, torch.bfloat16)
    torch.manual_seed(1)
    context, saved = attend(projected, slots, p)
    gradient = attend_backward(toward, saved, slots, p)
    expected, of_projected = reference(projected, toward, batch, p)
    # bfloat16 has eight bits: 0.4 % a rounding
    assert_near(context, expected, batch, 0.01)
    assert_near(gradient, of_projected, batch, 0.01)


def test_half_the_weights_dropped_are_the_same_ones_in_the_backward_pass() -> None:
    batch = batch_of(np.array([32]))
    projected = torch.zeros(len(batch.ids), 3 * 32, dtype=torch.bfloat16)
    projected[:32, 64:] = torch.eye(32)  # the context shows which weights were kept
    slots = HeadSlots.of(batch, 1, torch.bfloat16)
    torch.manual_seed(0)
    context, saved = attend(projected, slots, 0.5)
    kept = context[:32] != 0
    assert 0 < int(kept.sum()) < 32 * 32
    toward = torch.zeros_like(context)
    toward[:32] = 1
    gradient = attend_backward(toward, saved, slots, 0.5)
    used = gradient[:32, 64] * 32 / 2  # 1/32 · 1/(1 − ½) for each query that kept the key
    assert used.tolist() == kept.sum(0).tolist()


def test_ways_to_slots_and_back_undo_each_other() -> None:
    batch = batch_of(LENGTHS)
    slots = HeadSlots.of(batch, HEADS, torch.float32)
    for route, factor in ((slots.projections, 3 * HEADS), (slots.contexts, HEADS)):
        rows = torch.randn(len(batch.ids) * factor, SIZE)
        rows[route.end :] = 0
        assert route.end == batch.tokens * factor
        assert torch.equal(route.returned(route.gathered(rows)), rows)
        assert torch.autograd.gradcheck(
            lambda x, way=route: way.to_tokens(way.to_slots(x))[: way.end],
            (torch.randn(len(batch.ids) * factor, 1, dtype=torch.float64, requires_grad=True),),
            fast_mode=True,
        )

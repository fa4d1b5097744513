"""Grouped attention against the textbook formula in fp32, differentiated by autograd."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from retrieval.models.attention import grouped_attention
from retrieval.models.dropout import Kept
from retrieval.models.layout import Group

HEADS, SIZE = 2, 16
GROUPS = (Group(0, 3, 8, False), Group(24, 2, 16, True), Group(56, 1, 24, False))
TOKENS = GROUPS[-1].stop


def biases() -> list[Tensor | None]:
    hidden = torch.zeros(2, 1, 1, 16, dtype=torch.bfloat16)
    hidden[1, ..., 11:] = float("-inf")
    return [None, hidden, None]


def textbook(projected: Tensor, kept: list[Kept | None]) -> Tensor:
    contexts = []
    for group, bias, drop in zip(GROUPS, biases(), kept, strict=True):
        part = projected[group.start : group.stop].view(group.count, group.width, 3, HEADS, SIZE)
        query, key, value = part.permute(2, 0, 3, 1, 4)
        scores = query @ key.transpose(2, 3)
        if bias is not None:
            scores = scores + bias.float()
        weights = scores.softmax(-1)
        if drop is not None:
            weights = weights * (drop.mask.view(weights.shape) != 0) * drop.scale
        contexts.append((weights @ value).transpose(1, 2).reshape(-1, HEADS * SIZE))
    return torch.cat(contexts)


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5])
def test_values_and_gradients_are_those_of_the_formula(p: float) -> None:
    torch.manual_seed(0)
    projected = torch.randn(TOKENS, 3 * HEADS * SIZE).mul_(0.5).to(torch.bfloat16).requires_grad_()
    toward = torch.randn(TOKENS, HEADS * SIZE)
    torch.manual_seed(1)
    context = grouped_attention(projected, GROUPS, biases(), HEADS, p)
    context.backward(toward.to(torch.bfloat16))

    torch.manual_seed(1)
    kept = [
        Kept.draw(torch.Size((group.count * HEADS, group.width, group.width)), p) if p else None
        for group in GROUPS
    ]
    reference = projected.detach().float().requires_grad_()
    expected = textbook(reference, kept)
    expected.backward(toward.to(torch.bfloat16).float())
    assert context.dtype == torch.bfloat16
    assert projected.grad is not None
    assert reference.grad is not None
    for ours, theirs in ((context.detach(), expected.detach()), (projected.grad, reference.grad)):
        error = (ours.float() - theirs).norm() / theirs.norm()
        assert error < 0.01  # bfloat16 has eight bits: 0.4 % a rounding
    padding = slice(GROUPS[1].start + 16 + 11, GROUPS[1].stop)
    keys_and_values = projected.grad[padding, HEADS * SIZE :]
    assert not keys_and_values.any()


def test_half_the_weights_dropped_are_the_same_ones_in_the_backward_pass() -> None:
    torch.manual_seed(0)
    group = (Group(0, 1, 8, False),)
    projected = torch.zeros(8, 3 * SIZE, dtype=torch.bfloat16)
    projected[:, 2 * SIZE :] = torch.eye(8, SIZE)  # the context shows which weights were kept
    projected.requires_grad_()
    context = grouped_attention(projected, group, [None], 1, 0.5)
    kept = context.detach()[:, :8] != 0
    assert 0 < int(kept.sum()) < 64
    context[:, :8].sum().backward()
    assert projected.grad is not None
    used = projected.grad[:, 2 * SIZE] * 8 / 2  # 1/8 · 1/(1 − ½) for each query that kept the key
    assert used.tolist() == kept.sum(0).tolist()

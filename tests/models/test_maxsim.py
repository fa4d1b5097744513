"""MaxSim against its formula, with its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from retrieval.models import maxsim
from retrieval.models.maxsim import max_sim, paired_max_sim


def rows_of(lengths: list[int], width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Rows of random vectors of 6 numbers; a quarter of the tokens counts in no passage."""
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(lengths), width, 6, generator=generator, dtype=dtype)
    real = torch.arange(width) < torch.tensor(lengths)[:, None]
    counted = real & (torch.rand(real.shape, generator=generator) > 0.25)
    return torch.cat([vectors * real[..., None], torch.stack([real, counted], -1)], -1)


def by_formula(queries: Tensor, passages: Tensor) -> Tensor:
    """``Σ_i max_j ⟨q_i, p_j⟩``, one pair of texts after the other."""
    found = torch.zeros(len(queries), len(passages), dtype=queries.dtype)
    for i, query in enumerate(queries):
        for j, passage in enumerate(passages):
            own, other = query[query[:, -2] == 1, :6], passage[passage[:, -1] == 1, :6]
            if len(own) and len(other):
                found[i, j] = (own @ other.T).amax(1).sum()
    return found


lengths = st.lists(st.integers(0, 9), min_size=1, max_size=12)


@given(lengths, lengths, st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_scores_and_gradients_are_those_of_the_formula(
    first: list[int], second: list[int], seed: int
) -> None:
    queries, passages = rows_of(first, 9, seed), rows_of(second, 11, seed + 1)
    queries.requires_grad_(), passages.requires_grad_()
    weights = torch.randn(len(first), len(second), dtype=queries.dtype)
    found, expected = max_sim(queries, passages), by_formula(queries, passages)
    torch.testing.assert_close(found, expected)
    gradients = torch.autograd.grad(found, (queries, passages), weights)
    if expected.requires_grad:
        wanted = torch.autograd.grad(expected, (queries, passages), weights, allow_unused=True)
        for own, other in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(
                own[..., :6], torch.zeros_like(own) if other is None else other[..., :6]
            )
    count = min(len(first), len(second))
    torch.testing.assert_close(paired_max_sim(queries[:count], passages[:count]), expected.diag())


def test_blocks_of_any_size_give_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    queries = rows_of(random.integers(0, 20, 40).tolist(), 20, 1).requires_grad_()
    passages = rows_of(random.integers(0, 50, 60).tolist(), 50, 2).requires_grad_()
    found = []
    for tokens, elements in ((maxsim.QUERY_TOKENS, 2**21), (13, 1000), (1, 1), (10**9, 10**9)):
        monkeypatch.setattr(maxsim, "QUERY_TOKENS", tokens)
        monkeypatch.setitem(maxsim.ELEMENTS, "cpu", elements)
        scores = max_sim(queries, passages)
        found.append((scores, *torch.autograd.grad(scores.square().sum(), (queries, passages))))
    for other in found[1:]:
        for own, part in zip(found[0], other, strict=True):
            torch.testing.assert_close(own, part)


def test_a_gradient_flows_to_the_first_of_equal_tokens() -> None:
    passages = torch.tensor([[[0.5, 0.0, 1, 1], [1.0, 0.0, 1, 1], [1.0, 0.0, 1, 1]]], requires_grad=True)
    queries = torch.tensor([[[2.0, 3.0, 1, 1]]])
    (gradient,) = torch.autograd.grad(max_sim(queries, passages).sum(), passages)
    assert gradient[0, :, :2].tolist() == [[0, 0], [2, 3], [0, 0]]


def test_a_passage_of_which_nothing_counts_scores_zero() -> None:
    queries, passages = rows_of([3, 0], 4, 1), rows_of([2, 2], 4, 2)
    passages[..., -1] = 0
    assert max_sim(queries, passages).tolist() == [[0, 0], [0, 0]]
    assert paired_max_sim(queries, passages).tolist() == [0, 0]

from __future__ import annotations

import math

import pytest
import torch

from retrieval.training.losses import contrastive_loss
from tests.rounding import entropy_bound, gamma


def test_constant_scores_give_the_log_of_the_candidates() -> None:
    queries, passages = torch.zeros(4, 8), torch.randn(4, 8)
    loss = contrastive_loss(queries @ passages.T, torch.arange(4), torch.zeros(4, 4, dtype=torch.bool))
    assert float(loss) == pytest.approx(math.log(4), rel=1e-6)


def test_against_the_formula_written_out() -> None:
    torch.manual_seed(0)
    queries, passages = torch.randn(5, 8), torch.randn(7, 8)
    labels = torch.tensor([0, 1, 2, 3, 6])
    excluded = torch.zeros(5, 7, dtype=torch.bool)
    excluded[1, 4] = excluded[4, 0] = True
    products = queries.double() @ passages.T.double()
    expected = 0.0
    for i in range(5):
        scores = {j: float(products[i, j]) for j in range(7) if not excluded[i, j]}
        positive = scores[int(labels[i])]
        expected -= math.log(math.exp(positive) / sum(math.exp(s) for s in scores.values())) / 5
    # Beyond the scores it rounds differences from their maximum, exponentials, a sum of seven, a logarithm.
    bound = entropy_bound(queries, passages).mean() + gamma(7 + 5) * 2 * float(products.abs().max())
    found = contrastive_loss(queries @ passages.T, labels, excluded)
    assert float(found) == pytest.approx(expected, rel=0, abs=bound)


def test_an_excluded_passage_gets_no_gradient() -> None:
    queries, passages = torch.randn(2, 4), torch.randn(3, 4, requires_grad=True)
    excluded = torch.tensor([[False, False, True], [False, False, True]])
    contrastive_loss(queries @ passages.T, torch.arange(2), excluded).backward()
    assert passages.grad is not None
    assert passages.grad[2].abs().sum() == 0
    assert passages.grad[0].abs().sum() > 0

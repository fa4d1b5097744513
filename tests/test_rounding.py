"""The bounds hold for whatever order of addition, and a ranking that is wrong by more is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.search.ranking import Ranking
from tests.rounding import assert_ranking, exact, product_bound, ranks_within

numbers = st.integers(0, 10**6).map(np.random.default_rng)


def vectors(random: np.random.Generator, rows: int, dimension: int) -> np.ndarray:
    scale = 10.0 ** random.integers(-3, 4, dimension)  # terms of many sizes, which cancel badly
    return (random.normal(size=(rows, dimension)) * scale).astype(np.float32)


@given(numbers, st.integers(1, 300))
def test_a_sum_in_any_order_keeps_the_bound(random: np.random.Generator, dimension: int) -> None:
    x, y = vectors(random, 1, dimension), vectors(random, 1, dimension)
    found = np.float32(0)
    for place in random.permutation(dimension):
        found += x[0, place] * y[0, place]
    assert abs(float(found) - (x[0].astype(np.float64) @ y[0])) <= product_bound(x, y)[0, 0]


@given(numbers)
def test_exact_vectors_have_the_same_product_in_any_order(random: np.random.Generator) -> None:
    x, y = (exact(random.normal(size=32)) for _ in range(2))
    order = random.permutation(32)
    assert np.cumsum(x[order] * y[order])[-1] == np.cumsum(x * y)[-1] == x.astype(np.float64) @ y


def test_passages_change_places_within_the_bound_and_no_further() -> None:
    queries = np.array([[1.0, 1.0]], np.float32)
    passages = np.array([[1.0, 1.0], [1.0, 1.0 + 2**-23], [1.0, 1.001], [0.0, 1.0]], np.float32)
    scores = (queries @ passages.T)[0]
    for order in ([2, 0, 1], [2, 1, 0]):
        assert_ranking(Ranking(np.array([order]), np.sort(scores)[None, :0:-1]), queries, passages, 3)
    for order in ([0, 2, 1], [2, 0, 3], [2, 0, 0]):
        with pytest.raises(AssertionError):
            assert_ranking(Ranking(np.array([order]), scores[order][None]), queries, passages, 3)
    assert list(ranks_within([3.0, 2.0, 1.0], 2.0, 0.5)) == [2, 3]
    assert list(ranks_within([3.0, 2.0, 1.0], 2.5, 0.4)) == [2]

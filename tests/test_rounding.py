"""The bounds hold for whatever order of addition, and a ranking that is wrong by more is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.search.ranking import Ranking
from tests.rounding import (
    assert_entropies,
    assert_gradients,
    assert_ranking,
    assert_scores,
    assert_vectors,
    exact,
    likely,
    max_sim_scale,
    product_bound,
    product_scale,
    ranks_within,
)

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


@given(numbers, st.integers(1, 300))
def test_vectors_of_sums_in_any_order_are_equal_and_others_are_not(
    random: np.random.Generator, terms: int
) -> None:
    weights, x = np.abs(vectors(random, 8, terms)), np.abs(vectors(random, 1, terms))  # nothing cancels
    order = random.permutation(terms)
    one, other = (np.cumsum(weights[:, o] * x[:, o], axis=1)[:, -1] for o in (order, order[::-1]))
    assert_vectors(one, other, terms)
    with pytest.raises(AssertionError, match="beyond the bound"):
        assert_vectors(one * (1 + 1e-6 * (terms + 10)), other, terms)


@given(numbers, st.integers(1, 300))
def test_scores_of_sums_in_any_order_are_equal_and_others_are_not(
    random: np.random.Generator, dimension: int
) -> None:
    x, y = vectors(random, 3, dimension), vectors(random, 4, dimension)
    terms, scale = x[:, None] * y, product_scale(x, y)
    order = random.permutation(dimension)
    one, other = (np.cumsum(terms[..., o], axis=-1)[..., -1] for o in (order, order[::-1]))
    assert_scores(one, other, dimension, scale)
    with pytest.raises(AssertionError, match="beyond the bound"):
        assert_scores(one + 1e-6 * (dimension + 10) * scale, other, dimension, scale)


@given(numbers)
def test_max_sim_moves_by_what_its_tokens_move(random: np.random.Generator) -> None:
    def max_sim(queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.einsum("qid,pjd->qpij", queries, passages).max(axis=3).sum(axis=2)
        return found

    def moved(rows: np.ndarray) -> np.ndarray:
        noise = random.normal(size=rows.shape)
        lengths = np.linalg.norm(rows, axis=2, keepdims=True) / np.linalg.norm(noise, axis=2, keepdims=True)
        return rows + likely(1000) * lengths * noise

    queries, passages = random.normal(size=(3, 5, 8)), random.normal(size=(4, 6, 8))
    scale = max_sim_scale(queries, passages)
    assert_scores(max_sim(moved(queries), moved(passages)), max_sim(queries, passages), 1001, scale)
    with pytest.raises(AssertionError, match="beyond the bound"):
        assert_scores(max_sim(queries[:, 1:], passages), max_sim(queries, passages), 1001, scale)


@given(numbers, st.floats(0.01, 3))
def test_entropies_move_by_what_scores_move(random: np.random.Generator, spread: float) -> None:
    def mean_entropy(scores: np.ndarray) -> float:
        return float((np.logaddexp.reduce(scores, axis=1) - scores[:, 0]).mean())

    scores = random.normal(size=(4, 9)) * spread
    worst = np.full(9, likely(1000))
    worst[0] *= -1
    for moved in (worst, -worst, random.uniform(-1, 1, 9) * worst):
        assert_entropies(mean_entropy(scores + 1.99 * moved), mean_entropy(scores), 1000, 1)
    with pytest.raises(AssertionError, match="beyond the bound"):
        assert_entropies(mean_entropy(scores + 20 * worst), mean_entropy(scores), 1000, 1)


def test_a_gradient_that_lacks_a_part_is_refused() -> None:
    random = np.random.default_rng(0)
    wanted = [random.normal(size=size).astype(np.float32) for size in ((40, 30), (30,), (5,))]
    noisy = [each * (1 + random.normal(size=each.shape) * 1e-7) for each in wanted]
    assert_gradients(noisy, wanted, 100)
    for lost in range(3):
        parts = [np.zeros_like(each) if place == lost else each for place, each in enumerate(noisy)]
        with pytest.raises(AssertionError, match=f"gradient {lost}"):
            assert_gradients(parts, wanted, 100)
    # What remains of terms that cancel is bounded by all gradients, not by itself.
    assert_gradients([wanted[0], np.full(30, 1e-5)], [wanted[0], np.zeros(30)], 100)

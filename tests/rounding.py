"""How far rounding may put two computations of the same inner products apart.

Libraries, and one library for matrices of other shapes or on another processor, add the terms of an inner
product in different orders. Where the terms cancel, what remains may differ by any multiple of itself, so the
bound is absolute. Higham, Accuracy and Stability of Numerical Algorithms (2nd edition, SIAM 2002), §3.1: in
whatever order the d terms are added, with or without fused multiply-adds,

    |fl(x·y) − x·y| ≤ γ_d |x|·|y| ≤ γ_d ‖x‖‖y‖,    γ_d = d·u / (1 − d·u)

where u is the unit roundoff. Two implementations differ by no more than twice that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from retrieval.search.ranking import Ranking

FP32, BF16 = 2.0**-24, 2.0**-8
"""Unit roundoffs: half the distance from 1 to the next number."""


def gamma(terms: int, unit: float = FP32) -> float:
    """γ of an inner product of so many terms, or of so many roundings one after the other."""
    return terms * unit / (1 - terms * unit)


def product_bound(x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
    """float64[n, m]: how far fp32 products of the rows of ``x`` [n, d] and ``y`` [m, d] are from exact."""
    left, right = (np.abs(np.asarray(rows, np.float64)) for rows in (x, y))
    return gamma(left.shape[1]) * (left @ right.T)


def encoder_roundings(layers: int, hidden: int, tokens: int) -> int:
    """Roundings one after the other on the longest way of a text of so many tokens through a BERT encoder.

    They are the terms of all sums on it: in a layer those of query, scores, softmax, context and output, of
    both feed-forward products and of two norms (a mean and a variance each); before and after the layers a
    norm, pooling, projection and length. See :func:`likely` for what they add up to.
    """
    layer = (4 + 5 + 4) * hidden + 2 * tokens
    return layers * layer + 4 * hidden + tokens


CERTAINTY = 8
"""Standard deviations of a sum of independent roundings that no test should meet."""


def likely(roundings: int) -> float:
    """How far so many roundings, one after the other, are from none: λ·√n·u, in place of γ's n·u.

    Roundings of both signs cancel for the most part (Higham and Mary, A New Approach to Probabilistic
    Rounding Error Analysis, SIAM J. Sci. Comput. 41(5), 2019; here λ = :data:`CERTAINTY`). Of the length of a
    network's vectors it is an estimate: no layer may magnify the errors that reach it. Of few roundings γ is
    the smaller of the two, and it is certain.
    """
    return min(gamma(roundings), CERTAINTY * math.sqrt(roundings) * FP32)


def beyond(found: Any, wanted: Any, roundings: int) -> NDArray[np.float64]:
    """float64[n], or [n, …]: by how much vectors differ more than :func:`assert_vectors` allows; else < 0."""
    one, other = (_double(rows) for rows in (found, wanted))
    assert one.shape == other.shape
    apart = np.linalg.norm(one - other, axis=-1)
    excess: NDArray[np.float64] = apart - 2 * likely(roundings) * np.linalg.norm(other, axis=-1)
    return excess


def assert_vectors(found: Any, wanted: Any, roundings: int) -> None:
    """Assert that vectors [n, d], or [n, …, d], are the same computation, as far as it is known to what.

    Each is taken to be exact to what is :func:`likely`, relative to its length. Two differ by twice that.
    """
    excess = beyond(found, wanted, roundings)
    assert (excess <= 0).all(), f"{excess.max()} beyond the bound"


def assert_scores(found: Any, wanted: Any, roundings: int, scale: ArrayLike) -> None:
    """Assert that scores are the same computation, as far as it is known to what.

    A score is an inner product of two vectors, or a sum of some. Each is taken to be exact to what is
    :func:`likely`, relative to its ``scale``. Two differ by twice that.

    ``roundings``: on the way of each vector that was computed, and the terms of the product itself. An error
    of a vector, relative to its length, is one of the score, relative to the product of both lengths. Where
    both computations start from the same vectors, only the terms of the product are left.

    ``scale``: the product of both lengths, which broadcasts against the scores; see :func:`product_scale`,
    :func:`max_sim_scale` and :func:`head_scale`.
    """
    one, other, lengths = (_double(values) for values in (found, wanted, scale))
    assert one.shape == other.shape
    excess = np.abs(one - other) - 2 * likely(roundings) * lengths
    assert (excess <= 0).all(), f"{excess.max()} beyond the bound"


def assert_entropies(found: Any, wanted: Any, roundings: int, scale: ArrayLike) -> None:
    """Assert that contrastive entropies, or means of some, are of the same scores; see :func:`assert_scores`.

    Where scores change by δ at most, ln(1 + Σ e^(s_j − s⁺)) grows most if each difference grows by 2δ: from
    CE to ln(1 + e^2δ·(e^CE − 1)). That is concave in CE, so that what holds for each entropy holds for their
    mean. ``roundings``: of the scores; ``scale``: of the largest one.
    """
    one, other = _double(found), _double(wanted)
    assert one.shape == other.shape
    differences = 4 * likely(roundings) * _double(scale)
    excess = np.abs(one - other) - np.log1p(np.expm1(differences) * -np.expm1(-other))
    assert (excess <= 0).all(), f"{excess.max()} beyond the bound"


def product_scale(queries: Any, passages: Any) -> NDArray[np.float64]:
    """float64[n, m]: the products of the lengths of vectors [n, d] and [m, d]."""
    return np.outer(*(np.linalg.norm(_double(rows), axis=-1) for rows in (queries, passages)))


def max_sim_scale(queries: Any, passages: Any) -> NDArray[np.float64]:
    """float64[n, m]: what errors of MaxSim of token vectors [n, L, d] and [m, L, d] are relative to.

    A score adds up an inner product for each token of the query. None has a longer factor than the longest
    vector of the passage. A maximum changes by no more than what it is taken of.
    """
    own, others = (np.linalg.norm(_double(rows), axis=-1) for rows in (queries, passages))
    return np.outer(own.sum(axis=1), others.max(axis=1))


def head_scale(weights: Any, states: Any) -> NDArray[np.float64]:
    """float64[n]: the products of the lengths of a linear layer's only row [1, d] and of its inputs [n, d].

    The inputs are what the network computes. What stands before the layer is taken to leave errors as large,
    relative to their length, as it gets them.
    """
    found: NDArray[np.float64] = product_scale(weights, states)[0]
    return found


CANCELLED = 100
"""Roundings that a gradient may carry of all gradients, where its own terms cancel."""


def assert_gradients(
    found: Iterable[Any], wanted: Iterable[Any], roundings: int, cancelled: int = CANCELLED
) -> None:
    """Assert that two lists of gradients, a tensor a parameter, are of the same computation.

    ``roundings``: of the forward pass; the backward pass has two products for each of its own. Each gradient
    is taken to be exact to what is :func:`likely` of its own length, as vectors are, and to γ of
    ``cancelled`` of the length of all together: that of a key's bias is zero, and what is computed is
    rounding alone.
    """
    ones, others = ([_double(each) for each in many] for many in (found, wanted))
    assert ones
    assert [one.shape for one in ones] == [other.shape for other in others]
    everything = np.sqrt(sum(np.square(other).sum() for other in others))
    for place, (one, other) in enumerate(zip(ones, others, strict=True)):
        apart = np.linalg.norm(one - other)
        bound = 2 * likely(3 * roundings) * np.linalg.norm(other) + 2 * gamma(cancelled) * everything
        assert apart <= bound, f"gradient {place}: {apart} where {bound} is allowed"


def _double(values: Any) -> NDArray[np.float64]:
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, np.float64)


def entropy_bound(queries: ArrayLike, passages: ArrayLike) -> NDArray[np.float64]:
    """float64[q]: how far each query's contrastive entropies are from exact when their scores are fp32.

    The derivative of ln(1 + Σ e^(s_j − s⁺)) by the scores adds up to 2·(1 − e^−CE) at most.
    """
    return 2 * product_bound(queries, passages).max(axis=1)


def exact(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Multiples of 2⁻⁷ next to ``values``: their inner products are exact in every order of addition.

    Each term is a multiple of 2⁻¹⁴, and so is every sum; fp32 holds those below 2¹⁰.
    """
    return (np.round(values * 2**7) / 2**7).astype(np.float32)


def ranks_within(others: ArrayLike, score: float, bound: float) -> range:
    """The ranks that a score may have among others where differences of up to ``bound`` decide nothing."""
    values = np.asarray(others, np.float64)
    return range(1 + int((values > score + bound).sum()), 2 + int((values >= score - bound).sum()))


def assert_ranking(found: Ranking, queries: ArrayLike, passages: ArrayLike, k: int) -> None:
    """Assert that ``found`` lists each query's ``k`` passages of highest inner product, as far as fp32 tells.

    Passages change places only where their exact scores lie within the bound of both: the n-th score of each
    list is the n-th highest to within the bound, and so is its passage's to within twice the bound.
    """
    scores = np.asarray(queries, np.float64) @ np.asarray(passages, np.float64).T
    depth = min(k, scores.shape[1])
    assert found.columns.shape == found.scores.shape == (len(scores), depth)
    assert all(len(set(columns)) == depth for columns in found.columns.tolist())
    bound = product_bound(queries, passages)
    own, own_bound = (np.take_along_axis(values, found.columns, axis=1) for values in (scores, bound))
    assert (np.abs(found.scores - own) <= own_bound).all()
    assert (np.diff(found.scores, axis=1) <= 0).all()
    best = -np.sort(-scores, axis=1)[:, :depth]
    assert (np.abs(own - best) <= 2 * bound.max(axis=1, keepdims=True)).all()

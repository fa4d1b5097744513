from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.config import EvalConfig
from retrieval.data.collection import Collection
from retrieval.data.testset import EvaluationSet, build_evaluation_set
from retrieval.errors import ConfigError, ParetrieveError
from retrieval.evaluation import contrastive_entropy as module
from retrieval.evaluation.contrastive_entropy import (
    compared_columns,
    contrastive_entropy,
    means_by_query,
)
from tests.rounding import entropy_bound

MakeCollection = Callable[..., Collection]
MakeSet = Callable[..., EvaluationSet]


def vectors(part: EvaluationSet, seed: int = 0, dimension: int = 8) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    queries = generator.normal(size=(len(part.query_rows), dimension)).astype(np.float32)
    passages = generator.normal(size=(len(part.passage_rows), dimension)).astype(np.float32)
    return queries, passages


def drawn_columns(part: EvaluationSet, negatives: int, draws: int, seed: int) -> list[np.ndarray]:
    candidates = module.negative_candidates(part, seed)
    return [candidates[drawn] for drawn in module._draw_negatives(part, candidates, negatives, draws, seed)]


def assert_entropies(
    found: np.ndarray, expected: np.ndarray | list[float], part: EvaluationSet, bound: np.ndarray
) -> None:
    """``bound``: float64[q], how far rounding may put each query's pairs from the expected ones."""
    assert (np.abs(found - expected) <= bound[part.pair_queries()]).all()


def test_constant_scores_give_the_logarithm_of_the_number_of_candidates(make_set: MakeSet) -> None:
    part = make_set([[3], [0, 7], [299]], pool=300)
    queries, passages = np.full((3, 4), 2.0, np.float32), np.full((300, 4), 2.0, np.float32)
    assert contrastive_entropy(queries, passages, part).mean() == pytest.approx(math.log(257), abs=1e-12)
    small = contrastive_entropy(queries, passages, part, negatives=10, draws=3)
    assert small == pytest.approx([math.log(11)] * 4, abs=1e-12)


def test_equals_the_equation_computed_pair_by_pair(make_set: MakeSet) -> None:
    part = make_set([[5, 17], [40], [0, 1, 59]], pool=60, grades=[2, 1, 1, 3, 1, 1])
    queries, passages = vectors(part)
    measured = contrastive_entropy(queries, passages, part, negatives=20, draws=4, seed=3)
    expected = []
    drawn = drawn_columns(part, 20, 4, 3)
    scores = queries.astype(np.float64) @ passages.T
    for query, column in zip(part.pair_queries(), part.columns):
        values = []
        for negatives in drawn[query]:
            positive = math.exp(scores[query, column])
            total = positive + sum(math.exp(scores[query, other]) for other in negatives)
            values.append(-math.log(positive / total))
        expected.append(sum(values) / len(values))
    assert_entropies(measured, expected, part, entropy_bound(queries, passages))
    pairs = measured
    assert means_by_query(measured, part) == pytest.approx([pairs[:2].mean(), pairs[2], pairs[3:].mean()])


@given(data=st.data())
def test_negatives_are_distinct_candidates_that_are_not_relevant(
    make_set: MakeSet, data: st.DataObject
) -> None:
    pool = data.draw(st.integers(12, 80))
    columns = st.lists(st.integers(0, pool - 1), min_size=1, max_size=6, unique=True).map(sorted)
    relevant = data.draw(st.lists(columns, min_size=1, max_size=4))
    own = data.draw(st.lists(st.integers(-1, pool - 1), min_size=len(relevant), max_size=len(relevant)))
    part = make_set(relevant, pool, identical=own)
    forbidden = [{*columns, own[query]} - {-1} for query, columns in enumerate(relevant)]
    negatives = data.draw(st.integers(1, pool - max(map(len, forbidden))))
    for query, draws in enumerate(drawn_columns(part, negatives, 3, data.draw(st.integers(0, 9)))):
        for draw in draws.tolist():
            assert len(set(draw)) == negatives
            assert not set(draw) & forbidden[query]
            assert min(draw) >= 0
            assert max(draw) < pool


def test_every_irrelevant_candidate_is_drawn_equally_often(make_set: MakeSet) -> None:
    part = make_set([[2, 5]], pool=10)
    [drawn] = drawn_columns(part, 4, 8000, 1)
    shares = np.bincount(drawn.ravel(), minlength=10) / 8000
    assert shares[[2, 5]].tolist() == [0, 0]
    # Standard error of each share is √(¼/8000) < .006.
    assert np.delete(shares, [2, 5]) == pytest.approx(np.full(8, 0.5), abs=0.03)


def test_does_not_depend_on_the_order_of_the_pool(make_set: MakeSet) -> None:
    part = make_set([[3, 9], [11]], pool=50)
    queries, passages = vectors(part)
    order = np.random.default_rng(5).permutation(50)
    place = np.argsort(order)
    shuffled = replace(part, passage_rows=part.passage_rows[order], columns=place[part.columns])
    original = contrastive_entropy(queries, passages, part, negatives=20)
    found = contrastive_entropy(queries, passages[order], shuffled, negatives=20)
    assert_entropies(found, original, part, 2 * entropy_bound(queries, passages))


def test_models_are_compared_on_the_same_negatives(make_set: MakeSet) -> None:
    part = make_set([[3], [4]], pool=100)
    queries, passages = vectors(part)
    first = contrastive_entropy(queries, passages, part, negatives=30)
    # Adding a constant to every score of a query changes no softmax, so the same negatives give the same.
    wider = [
        np.hstack([queries, [[2.0], [-1.0]]]).astype(np.float32),
        np.hstack([passages, np.ones((100, 1))]).astype(np.float32),
    ]
    shifted = contrastive_entropy(*wider, part, negatives=30)
    assert_entropies(shifted, first, part, entropy_bound(queries, passages) + entropy_bound(*wider))
    other_seed = contrastive_entropy(queries, passages, part, negatives=30, seed=2)
    assert (other_seed != first).all()


def test_a_query_keeps_its_negatives_when_others_leave(make_set: MakeSet) -> None:
    part = make_set([[3], [4], [5]], pool=40)
    alone = replace(
        make_set([[4]], pool=40), query_rows=np.array([1]), indptr=np.array([0, 1]), columns=np.array([4])
    )
    assert (drawn_columns(part, 10, 2, 1)[1] == drawn_columns(alone, 10, 2, 1)[0]).all()


def test_chunks_change_nothing_but_the_rounding(make_set: MakeSet, monkeypatch: pytest.MonkeyPatch) -> None:
    part = make_set([[query, 90 - query] for query in range(30)], pool=100)
    queries, passages = vectors(part)
    whole = contrastive_entropy(queries, passages, part, negatives=20)
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 1)
    found = contrastive_entropy(queries, passages, part, negatives=20)
    assert_entropies(found, whole, part, 2 * entropy_bound(queries, passages))


def test_large_pools_lend_a_fixed_sample_of_candidates(
    make_set: MakeSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = make_set([[query] for query in range(5)], pool=200)
    queries, passages = vectors(part)
    monkeypatch.setattr(module, "NEGATIVE_CANDIDATES", 50)
    drawn = drawn_columns(part, 40, 10, 1)
    assert len({column for draws in drawn for column in draws.ravel().tolist()}) <= 50
    columns = compared_columns(part, 1)
    assert len(columns) <= 55
    constant = contrastive_entropy(
        np.ones_like(queries), np.ones((len(columns), 8), np.float32), part, negatives=40
    )
    assert constant.mean() == pytest.approx(math.log(41), abs=1e-12)
    measured = contrastive_entropy(queries, passages[columns], part, negatives=40)
    scores = queries.astype(np.float64) @ passages.T
    expected = [
        np.mean([math.log1p(np.exp(scores[q, n] - scores[q, q]).sum()) for n in drawn[q]]) for q in range(5)
    ]
    assert_entropies(measured, expected, part, entropy_bound(queries, passages))


def test_huge_scores_do_not_overflow(make_set: MakeSet) -> None:
    part = make_set([[0]], pool=20)
    passages = np.zeros((20, 1), np.float32)
    passages[0] = -5000
    measured = contrastive_entropy(np.ones((1, 1), np.float32), passages, part, negatives=10)
    assert measured.mean() == pytest.approx(5000 + math.log(10))


def test_too_few_irrelevant_passages_name_the_numbers_and_the_fix(
    numbered_collection: MakeCollection, make_set: MakeSet
) -> None:
    part = make_set([[0], [1, 2, 3]], pool=20)
    with pytest.raises(
        ConfigError, match=r"256 irrelevant .* 'q0' has 19 among the 20 .* eval\.negatives=19"
    ):
        contrastive_entropy(*vectors(part), part)
    assert math.isfinite(contrastive_entropy(*vectors(part), part, negatives=17).mean())
    with pytest.raises(ConfigError, match=r"'q1' has 17 .* eval\.negatives=17 or less$"):
        contrastive_entropy(*vectors(part), part, negatives=18)
    sampled = build_evaluation_set(numbered_collection(), "test", EvalConfig(pool=100))
    with pytest.raises(ConfigError, match=r"eval\.pool above 100 \(the corpus has 400\)"):
        contrastive_entropy(*vectors(sampled), sampled)


@pytest.mark.parametrize("spoil", [np.nan, np.inf])
def test_vectors_that_are_not_numbers_are_refused(make_set: MakeSet, spoil: float) -> None:
    part = make_set([[0]], pool=20)
    queries, passages = vectors(part)
    queries[0, 0] = spoil
    with pytest.raises(ParetrieveError, match="NaN or infinity"):
        contrastive_entropy(queries, passages, part, negatives=10)


@pytest.mark.parametrize(
    ("cut", "message"),
    [
        (lambda q, p: (q[:-1], p), "1 query vectors for 2 texts"),
        (lambda q, p: (q, p[1:]), "19 passage vectors for 20 texts"),
    ],
)
def test_vectors_of_another_set_are_refused(make_set: MakeSet, cut: Callable, message: str) -> None:
    part = make_set([[0], [1]], pool=20)
    with pytest.raises(ParetrieveError, match=message):
        contrastive_entropy(*cut(*vectors(part)), part, negatives=10)

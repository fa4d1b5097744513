from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from beir.datasets.data_loader import GenericDataLoader
from beir.retrieval.evaluation import EvaluateRetrieval
from hypothesis import given
from hypothesis import strategies as st

from retrieval.config import EvalConfig
from retrieval.data.collection import open_collection
from retrieval.data.testset import EvaluationSet, build_evaluation_set
from retrieval.errors import ParetrieveError
from retrieval.search import ranking as module
from retrieval.search.ranking import Ranking, rank, ranking_metrics, top_k, top_k_of_blocks
from tests.rounding import assert_ranking, exact

MakeSet = Callable[..., EvaluationSet]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("k", [1, 10, 300, 500])
def test_top_k_equals_a_full_sort(k: int) -> None:
    queries, passages = normal(7, 16), normal(300, 16, seed=1)
    assert_ranking(top_k(queries, passages, k, chunk=64), queries, passages, k)


@given(data=st.data())
def test_top_k_with_ties_and_signed_zeros_does_not_depend_on_the_chunk(data: st.DataObject) -> None:
    # Scores of small integers are exact in every order of summation, so all ties are true ties.
    values = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 3.0])
    column = data.draw(st.lists(values, min_size=1, max_size=40))
    passages = np.array(column, dtype=np.float32)[:, None]
    queries = np.array([[1.0], [-1.0], [0.0]], dtype=np.float32)
    k = data.draw(st.integers(1, 45))
    found = top_k(queries, passages, k, chunk=data.draw(st.integers(1, 40)))
    whole = top_k(queries, passages, k)
    assert (found.columns == whole.columns).all()
    expected = -np.sort(-(queries @ passages.T), axis=1)[:, :k]
    assert (found.scores == expected).all()
    for columns in found.columns.tolist():
        assert len(set(columns)) == min(k, len(column))


def test_a_memory_mapped_matrix_and_a_stream_of_blocks_give_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks of other shapes may be multiplied in another order: vectors whose scores do not depend on it.
    queries, passages = exact(normal(5, 8)), exact(normal(200, 8, seed=1))
    np.save(tmp_path / "passages.npy", passages)
    mapped = np.load(tmp_path / "passages.npy", mmap_mode="r")
    whole = top_k(queries, passages, 20)
    blocks = (passages[start:stop] for start, stop in [(0, 3), (3, 150), (150, 150), (150, 200)])
    monkeypatch.setattr(module, "_CHUNK_ELEMENTS", 100)
    for found in (top_k(queries, mapped, 20, chunk=37), top_k_of_blocks(queries, blocks, 20)):
        assert (found.columns == whole.columns).all()
        assert (found.scores == whole.scores).all()


def test_a_collapsed_encoder_ranks_at_chance(make_set: MakeSet) -> None:
    # All relevant passages stand first in the corpus: an order of ties by position would find them all.
    part = make_set([[query] for query in range(500)], pool=2000)
    found = rank(np.ones((500, 4), np.float32), [np.ones((2000, 4), np.float32)], part)
    # 100 of 2000 candidates are listed, the same for every query: 5 % of the relevant, ± 1 %.
    assert ranking_metrics(found, part)["recall@100"].mean() == pytest.approx(0.05, abs=0.03)


def test_metrics_of_a_hand_made_ranking(make_set: MakeSet) -> None:
    part = make_set([[4, 9], [7], [1], [2]], pool=120, grades=[2, 1, 1, 1, 1])
    columns = np.full((4, 100), -1)
    columns[0, :3] = [9, 0, 4]
    columns[1, :12] = [*range(50, 60), 7, 61]
    columns[2, :1] = [3]
    scores = np.where(columns >= 0, -np.arange(100.0), -np.inf).astype(np.float32)
    measured = ranking_metrics(Ranking(columns=columns, scores=scores), part)
    ideal = 2 / np.log2(2) + 1 / np.log2(3)
    assert measured["ndcg@10"] == pytest.approx([(1 / np.log2(2) + 2 / np.log2(4)) / ideal, 0, 0, 0])
    assert measured["mrr@10"] == pytest.approx([1, 0, 0, 0])
    assert measured["recall@100"] == pytest.approx([1, 1, 0, 0])


@pytest.mark.parametrize(("position", "expected"), [(0, 1.0), (1, 0.5), (9, 0.1), (10, 0.0), (99, 0.0)])
def test_mrr_is_cut_after_rank_ten(make_set: MakeSet, position: int, expected: float) -> None:
    part = make_set([[position]], pool=100)
    scores = -np.arange(100.0, dtype=np.float32)[None]
    found = Ranking(columns=np.arange(100)[None], scores=scores)
    assert ranking_metrics(found, part)["mrr@10"].tolist() == pytest.approx([expected])


def test_identical_id_is_left_out_of_the_ranking_and_nothing_else(make_set: MakeSet) -> None:
    queries, passages = normal(3, 8), normal(150, 8, seed=1)
    plain = rank(queries, [passages], make_set([[0], [1], [2]], pool=150))
    best = plain.columns[0, 0]
    last = np.setdiff1d(np.arange(150), plain.columns[1])[0]
    found = rank(queries, [passages], make_set([[0], [1], [2]], pool=150, identical=[best, last, -1]))
    assert found.columns.shape == (3, 100)
    assert (found.columns[0, :99] == plain.columns[0, 1:]).all()
    assert best not in found.columns[0]
    assert (found.columns[1:] == plain.columns[1:]).all()


def test_identical_id_in_a_pool_smaller_than_the_depth_leaves_a_gap(make_set: MakeSet) -> None:
    found = rank(normal(2, 8), [normal(5, 8, seed=1)], make_set([[0], [1]], pool=5, identical=[3, -1]))
    assert sorted(found.columns[0].tolist()) == [-1, 0, 1, 2, 4]
    assert found.columns[0, -1] == -1
    assert found.scores[0, -1] == -np.inf


@pytest.mark.parametrize("side", [0, 1])
def test_vectors_that_are_not_numbers_are_refused(make_set: MakeSet, side: int) -> None:
    vectors = normal(2, 8), normal(5, 8, seed=1)
    vectors[side][1, 3] = np.nan
    with pytest.raises(ParetrieveError, match="NaN or infinity"):
        rank(vectors[0], vectors[1:], make_set([[0], [1]], pool=5))


@pytest.mark.parametrize("name", ["scifact", "cisi", "cosqa"])
@pytest.mark.parametrize("drop_identical", [False, True])
def test_equals_beir_on_the_same_vectors(
    shared: Path, tmp_path: Path, name: str, drop_identical: bool
) -> None:
    folder = shared / "collections" / name
    config = EvalConfig(max_queries=None, pool=None)
    collection = open_collection(folder, tmp_path)
    part = build_evaluation_set(collection, "test", config, drop_identical=drop_identical)
    queries, passages = normal(len(part.query_rows), 32), exact(normal(len(part.passage_rows), 32, seed=1))
    np.add.at(queries, part.pair_queries(), 0.3 * passages[part.columns])
    if drop_identical:
        # cisi numbers queries and passages alike: here every passage with the query's id ranks first.
        own = part.identical >= 0
        queries[own] += 2 * passages[part.identical[own]]
    queries = exact(queries)  # a metric leaves no room for rounding: it is that of one order or of another
    measured = {
        name: values.mean() for name, values in ranking_metrics(rank(queries, [passages], part), part).items()
    }

    corpus, texts, qrels = GenericDataLoader(str(folder)).load(split="test")
    passage_ids = list(corpus)
    query_ids = collection.query_ids(part.query_rows)
    assert sorted(query_ids) == sorted(texts)
    scores = queries @ passages.T
    best = np.argsort(-scores, axis=1)[:, :200]
    results = {
        query: {passage_ids[column]: float(scores[row, column]) for column in best[row]}
        for row, query in enumerate(query_ids)
    }
    ndcg, _, recall, _ = EvaluateRetrieval.evaluate(
        qrels, results, [10, 100], ignore_identical_ids=drop_identical
    )
    mrr = EvaluateRetrieval.evaluate_custom(qrels, results, [10], "mrr")
    assert measured["ndcg@10"] == pytest.approx(ndcg["NDCG@10"], abs=1e-5)
    assert measured["recall@100"] == pytest.approx(recall["Recall@100"], abs=1e-5)
    assert measured["mrr@10"] == pytest.approx(mrr["MRR@10"], abs=1e-5)
    assert 0.05 < measured["ndcg@10"] < 0.95


@pytest.mark.parametrize("passages", [700, 64 * 20, 5000])
@pytest.mark.parametrize("levels", [3, 1000])
def test_top_k_of_many_passages_is_that_of_a_full_sort(passages: int, levels: int) -> None:
    random = np.random.default_rng(passages + levels)
    queries = random.integers(-levels, levels, (9, 4)).astype(np.float32)
    vectors = random.integers(-levels, levels, (passages, 4)).astype(np.float32)  # exact products, many ties
    scores = queries @ vectors.T
    vectors.flags.writeable = False
    for k in (1, 7, 100):
        found = top_k(queries, vectors, k, chunk=2000)
        expected = -np.sort(-scores, axis=1)[:, :k]
        assert np.array_equal(found.scores, expected)
        assert np.array_equal(np.take_along_axis(scores, found.columns, axis=1), expected)

"""Models that score pairs by a pass each: few queries, few candidates, no pair more than needed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.config import EvalConfig
from retrieval.data.arrays import FloatArray
from retrieval.data.collection import Collection
from retrieval.data.testset import EvaluationSet, IntArray, build_evaluation_set, first_queries
from retrieval.errors import ParetrieveError
from retrieval.evaluation.adversarial.adversarial_set import Target
from retrieval.evaluation.adversarial.measure import AttackedPool, measured, ranks_of
from retrieval.evaluation.adversarial.records import Attacked, load_attacked, save_attacked
from retrieval.evaluation.contrastive_entropy import (
    compared_columns,
    contrastive_entropy,
    means_by_query,
    standard_error,
)
from retrieval.models.scores import INNER_PRODUCTS, Scores
from retrieval.search.ranking import top_k
from retrieval.search.reranking import rerank, with_candidates

MakeCollection = Callable[..., Collection]
MakeSet = Callable[..., EvaluationSet]


class ByPair(Scores):
    """Inner products that may be asked for in lists only."""

    by_pair = True

    def __init__(self, constant: float | None = None) -> None:
        self.asked, self.constant = 0, constant

    def matrix(self, queries: FloatArray, passages: FloatArray) -> FloatArray:
        assert len(queries) == 1, "all pairs were asked for"
        return self.listed(queries, passages, np.arange(len(passages))[None])

    def listed(self, queries: FloatArray, passages: FloatArray, columns: IntArray) -> FloatArray:
        self.asked += int((columns >= 0).sum())
        found = INNER_PRODUCTS.listed(queries, passages, columns)
        if self.constant is not None:
            found[columns >= 0] = self.constant
        return found


def vectors(part: EvaluationSet, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    sizes = len(part.query_rows), len(part.passage_rows)
    queries, passages = (generator.normal(size=(size, 8)).astype(np.float32) for size in sizes)
    return queries, passages


def test_constant_scores_give_ln_257_by_256_pairs_and_the_positive(make_set: MakeSet) -> None:
    part = make_set([[3], [0, 7], [299]], pool=300)
    scores = ByPair(constant=1.5)
    found = contrastive_entropy(*vectors(part), part, scores=scores, draws=1)
    assert found == pytest.approx([math.log(257)] * 4, abs=1e-12)
    assert scores.asked == 3 * 256 + 4
    assert standard_error(found, part) == pytest.approx(0, abs=1e-12)


def test_pairs_give_the_entropy_that_a_matrix_gives(make_set: MakeSet) -> None:
    part = make_set([[5, 17], [40], [0, 1, 59]], pool=60)
    by_matrix, by_pair = (
        contrastive_entropy(*vectors(part), part, scores=scores, negatives=20, draws=1, seed=3)
        for scores in (INNER_PRODUCTS, ByPair())
    )
    assert by_pair == pytest.approx(by_matrix, rel=1e-5)


def test_the_error_is_that_of_a_mean_over_queries(make_set: MakeSet) -> None:
    part = make_set([[place] for place in range(40)], pool=60)
    pairs = np.random.default_rng(1).normal(size=40)
    assert standard_error(pairs, part) == pytest.approx(pairs.std(ddof=1) / math.sqrt(40))
    assert math.isnan(standard_error(pairs[:1], make_set([[0]], pool=60)))


def test_fewer_queries_are_the_first_and_keep_the_pool(numbered_collection: MakeCollection) -> None:
    collection = numbered_collection()
    config = EvalConfig(pool=200, max_queries=40)
    whole = build_evaluation_set(collection, "test", config)
    few = first_queries(whole, 10, config.seed)
    alone = build_evaluation_set(collection, "test", replace(config, max_queries=10))
    assert few.query_rows.tolist() == alone.query_rows.tolist()
    assert few.passage_rows.tolist() == whole.passage_rows.tolist()
    assert few.fingerprint != whole.fingerprint
    assert len(first_queries(whole, 99, config.seed).query_rows) == 40


def test_bm25_finds_candidates_once(numbered_collection: MakeCollection, tmp_path: Path) -> None:
    config = EvalConfig(pool=200, max_queries=10, rerank_depth=5)
    part = build_evaluation_set(numbered_collection(), "test", config)
    found = with_candidates(part, config, tmp_path)
    assert found.candidates is not None
    assert found.candidates.shape == (10, 5)
    # A query's word stands in its own passage alone.
    assert found.candidates[:, 0].tolist() == part.columns.tolist()
    assert (found.candidates[:, 1:] == -1).all()
    again = with_candidates(part, config, tmp_path)
    assert again.fingerprint == found.fingerprint != part.fingerprint
    assert len([place for place in (tmp_path / "first-stage").iterdir() if place.is_dir()]) == 1


def test_all_candidates_ranked_anew_are_the_whole_ranking(make_set: MakeSet) -> None:
    part = make_set([[5], [40]], pool=60)
    queries, passages = vectors(part)
    whole = top_k(queries, passages, 60)
    mixed = np.random.default_rng(0).permuted(np.tile(np.arange(60), (2, 1)), axis=1)
    found = rerank(queries, passages, np.arange(60), mixed, ByPair())
    assert found.columns.tolist() == whole.columns.tolist()
    some = np.array([[7, 3, -1], [9, 50, 2]])
    found = rerank(queries, passages[np.unique(some)[1:]], np.unique(some)[1:], some, ByPair())
    assert found.columns[0, 2] == -1
    assert np.isneginf(found.scores[0, 2])
    assert sorted(found.columns[1].tolist()) == [2, 9, 50]
    assert (np.diff(found.scores) <= 0).all()
    with pytest.raises(ParetrieveError, match="NaN or infinity"):
        rerank(queries, passages, np.arange(60), some, ByPair(constant=math.nan))


def test_a_passage_without_a_similarity_is_read_as_it_was_written(tmp_path: Path) -> None:
    entry = Attacked("q", "p", 7, 5, None, (), "a text", "a text")
    save_attacked([entry], tmp_path / "attack.jsonl")
    assert "similarity" not in (tmp_path / "attack.jsonl").read_text()
    assert load_attacked(tmp_path / "attack.jsonl") == [entry]


def test_ranks_of_an_attack_are_among_the_candidates(make_set: MakeSet) -> None:
    part = make_set([[5], [40]], pool=60)
    queries, passages = vectors(part)
    candidates = np.array([[5, 7, 3, 20], [9, 50, 2, -1]])
    # Passage 30 is no candidate: a replay of another model's attack brings it.
    targets = [Target(0, 7), Target(0, 30), Target(1, 2)]
    scores = ByPair()
    pool = AttackedPool(replace(part, candidates=candidates), queries, passages, scores, targets)
    top = np.full(3, 1e6, np.float32)
    bottom = np.full(3, -1e6, np.float32)
    assert [ranks.tolist() for ranks in ranks_of(pool, [top, bottom])] == [[1, 1, 1], [4, 5, 3]]
    config = EvalConfig(negatives=10, draws=7)
    before = scores.asked
    results = measured(pool, [top, bottom], config)
    # One draw of the irrelevant passages that no target stands for, and one relevant passage, a query.
    assert scores.asked - before == (10 - 2) + (10 - 1) + 2
    assert results[0].queries["mrr@10"][0] <= results[1].queries["mrr@10"][0]
    # With the relevant passage no candidate the second query finds nothing, whatever the attack does.
    assert results[1].queries["recall@100"].tolist() == [1.0, 0.0]
    assert (results[0].pairs > results[1].pairs).all()
    assert compared_columns(part, 1).tolist() == list(range(60))
    assert means_by_query(results[0].pairs, part) == pytest.approx(results[0].pairs)

"""A whole corpus in shards: the same numbers, one shard of vectors at a time, every text encoded once."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.config import EvalConfig
from retrieval.data.arrays import BYTES_AT_ONCE
from retrieval.data.collection import Collection
from retrieval.data.testset import EvaluationSet
from retrieval.data.tokens import Side
from retrieval.errors import ParetrieveError
from retrieval.evaluation import contrastive_entropy as entropy_module
from retrieval.evaluation.contrastive_entropy import compared_columns
from retrieval.evaluation.encoded import KeptRows, encode_pools
from retrieval.evaluation.one_set import measure
from retrieval.evaluation.suite import SHARED_BYTES, SuiteSets, build_sets, evaluate_suite
from retrieval.models.scores import INNER_PRODUCTS, InnerProducts
from retrieval.search.retriever import Retriever

MakeCollection = Callable[..., Collection]
MakeSet = Callable[..., EvaluationSet]
CONFIG = EvalConfig(max_queries=None, pool=None, negatives=50, draws=3)
PASSAGES = 400


class Counting(Retriever):
    """Vectors of small whole numbers, whose scores are exact in any order; counts those alive."""

    scores = INNER_PRODUCTS

    def __init__(self) -> None:
        random = np.random.default_rng(3)
        self.table = random.integers(-3, 4, size=(PASSAGES, 8)).astype(np.float32)
        self.alive = 0
        self.most = 0
        self.encoded: list[int] = []

    def row_bytes(self, side: Side) -> int:
        return self.table[0].nbytes

    def encode(self, collection: Collection, side: Side, rows: np.ndarray) -> np.ndarray:
        if side == "queries":
            return self.table[rows] + self.table[rows[::-1]]
        vectors = self.table[rows]
        self.encoded += rows.tolist()
        self.alive += len(rows)
        self.most = max(self.most, self.alive)
        weakref.finalize(vectors, self._gone, len(rows))
        return vectors

    def _gone(self, rows: int) -> None:
        self.alive -= rows


@pytest.fixture
def sets(numbered_collection: MakeCollection) -> SuiteSets:
    return build_sets(numbered_collection(passages=PASSAGES), {}, CONFIG)


def test_a_query_takes_the_time_of_encoding_it_and_of_ranking_for_it(
    sets: SuiteSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])

    class Slow(Counting):
        """A query takes 2 seconds, a passage 100."""

        def encode(self, collection: Collection, side: Side, rows: np.ndarray) -> np.ndarray:
            now[0] += len(rows) * (2.0 if side == "queries" else 100.0)
            return super().encode(collection, side, rows)

    class Searching(InnerProducts):
        """Scores of one block of passages take 30 seconds."""

        def search(self, queries: np.ndarray, passages: np.ndarray) -> np.ndarray:
            now[0] += 30.0
            return super().search(queries, passages)

    retriever = Slow()
    retriever.scores = Searching()
    found = evaluate_suite(retriever, sets, replace(CONFIG, shard=PASSAGES // 4), tmp_path)
    queries = len(sets.eff.query_rows)
    assert found.seconds_per_query == pytest.approx(2.0 + 4 * 30.0 / queries)


@pytest.mark.parametrize("shard", [1, 7, 64, PASSAGES - 1, PASSAGES, 65536])
def test_the_size_of_a_shard_changes_no_score(sets: SuiteSets, tmp_path: Path, shard: int) -> None:
    whole = evaluate_suite(Counting(), sets, CONFIG, tmp_path)
    found = evaluate_suite(Counting(), sets, replace(CONFIG, shard=shard), tmp_path)
    assert found.metrics == whole.metrics
    assert (found.scores["eff"].pairs == whole.scores["eff"].pairs).all()
    assert 0.1 < whole.metrics["eff/ndcg@10"] < 0.9


@pytest.mark.parametrize("shard", [1, 32, 150])
def test_one_shard_of_vectors_is_alive_and_each_passage_is_encoded_once(
    sets: SuiteSets, tmp_path: Path, shard: int
) -> None:
    encoder = Counting()
    evaluate_suite(encoder, sets, replace(CONFIG, shard=shard), tmp_path)
    assert encoder.most == shard
    assert encoder.alive == 0
    assert encoder.encoded == list(range(PASSAGES))


@pytest.mark.parametrize("pool", [None, 150])
@pytest.mark.parametrize("shard", [13, 65536])
def test_sets_of_one_collection_share_the_encoding_of_their_passages(
    numbered_collection: MakeCollection, tmp_path: Path, pool: int | None, shard: int
) -> None:
    config = replace(CONFIG, pool=pool, shard=shard)
    sets = build_sets(numbered_collection(passages=PASSAGES, dev=40), {}, config)
    encoder = Counting()
    together = evaluate_suite(encoder, sets, config, tmp_path)
    rows = [part.passage_rows for part in (sets.eff, sets.dev["eff"])]
    assert (pool is None) == np.array_equal(*rows)
    assert encoder.encoded == np.union1d(*rows).tolist()
    for prefix, part in (("eff", sets.eff), ("dev/eff", sets.dev["eff"])):
        alone = measure(Counting(), part, config, tmp_path)
        found = together.scores[prefix]
        assert (found.pairs == alone.pairs).all()
        assert all((found.queries[name] == values).all() for name, values in alone.queries.items())
        assert found.statistics == alone.statistics


def test_large_rows_of_different_pools_are_not_held_together(
    numbered_collection: MakeCollection, tmp_path: Path
) -> None:
    class Large(Counting):
        def row_bytes(self, side: Side) -> int:
            return SHARED_BYTES // 200

    config = replace(CONFIG, pool=150)
    sets = build_sets(numbered_collection(passages=PASSAGES, dev=40), {}, config)
    large, small = Large(), Counting()
    found = evaluate_suite(large, sets, config, tmp_path)
    assert found.metrics == evaluate_suite(small, sets, config, tmp_path).metrics
    rows = [part.passage_rows for part in (sets.eff, sets.dev["eff"])]
    assert len(large.encoded) == sum(map(len, rows))
    assert len(small.encoded) == len(np.union1d(*rows))


def test_large_rows_come_in_small_shards_and_are_kept_on_disk(
    sets: SuiteSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Large(Counting):
        def row_bytes(self, side: Side) -> int:
            return BYTES_AT_ONCE // 32

    kept: list[np.ndarray] = []
    rows = KeptRows.rows
    monkeypatch.setattr(KeptRows, "rows", lambda part: kept.append(rows(part)) or kept[-1])
    encoder = Large()
    found = evaluate_suite(encoder, sets, CONFIG, tmp_path)
    assert (encoder.most, encoder.encoded) == (32, list(range(PASSAGES)))
    assert isinstance(kept[0], np.memmap)
    assert found.metrics == evaluate_suite(Counting(), sets, CONFIG, tmp_path).metrics
    assert not isinstance(kept[-1], np.memmap)


def test_what_is_kept_of_a_large_corpus_does_not_grow_with_it(
    sets: SuiteSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entropy_module, "NEGATIVE_CANDIDATES", 120)
    seen: list[int] = []
    rows = KeptRows.rows
    monkeypatch.setattr(KeptRows, "rows", lambda kept: seen.append(len(rows(kept))) or rows(kept))
    few = evaluate_suite(Counting(), sets, replace(CONFIG, shard=64), tmp_path).metrics
    many = evaluate_suite(Counting(), sets, replace(CONFIG, shard=PASSAGES), tmp_path).metrics
    # 120 candidates and at most 60 relevant passages, of 400.
    assert 120 <= seen[0] <= 180
    assert seen[0] == len(compared_columns(sets.eff, CONFIG.seed))
    assert few == many


@pytest.mark.parametrize("shard", [13, 400])
def test_all_vectors_of_an_attacked_set_are_kept_on_the_way_by(
    sets: SuiteSets, tmp_path: Path, shard: int
) -> None:
    encoder = Counting()
    config = replace(CONFIG, shard=shard)
    encoded = evaluate_suite(encoder, sets, config, tmp_path, keep=True).scores["eff"].encoded
    assert encoded is not None
    queries, passages = encoded
    assert (passages == encoder.table).all()
    assert (queries == encoder.encode(sets.eff.collection, "queries", sets.eff.query_rows)).all()
    assert encoder.encoded == list(range(PASSAGES))
    if shard < PASSAGES:
        # On disk, under no name: nothing is left behind by a process that is killed.
        assert isinstance(passages, np.memmap)
        assert encoder.alive == 0
    assert [path for path in tmp_path.iterdir() if path.is_file()] == []


def test_vectors_of_other_sets_are_not_kept(sets: SuiteSets, tmp_path: Path) -> None:
    result = evaluate_suite(Counting(), sets, replace(CONFIG, shard=64), tmp_path)
    assert all(part.encoded is None for part in result.scores.values())


def test_an_encoder_that_returns_too_few_vectors_is_refused(make_set: MakeSet) -> None:
    class Short(Counting):
        def encode(self, collection: Collection, side: Side, rows: np.ndarray) -> np.ndarray:
            return super().encode(collection, side, rows)[1:]

    part = make_set([[0], [1]], pool=30)
    with pytest.raises(
        ParetrieveError, match="stand-in: the encoder returned 9 passage vectors for 10 texts"
    ):
        encode_pools(Short(), [(part, KeptRows(np.arange(5)))], 10)

"""Mined negatives: what is in the lists, what may not be, and how batches draw from them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.data.batches import Stream, TrainingPairs, collate
from retrieval.data.collection import Collection, open_collection
from retrieval.data.negatives import HardNegatives, NegativeLists, Relevance, relevance_of
from retrieval.errors import ConfigError
from retrieval.models.scores import INNER_PRODUCTS
from retrieval.search import mining
from retrieval.search.mining import mine, search, training_queries, write_lists
from retrieval.search.ranking import Ranking
from retrieval.search.retriever import Retriever
from tests.data.conftest import WriteCollection
from tests.data.test_batches import pairs_of
from tests.rounding import assert_ranking

PASSAGES = {
    "apple-1": "apple tree",
    "apple-2": "apple pie",
    "apple-3": "an apple a day",
    "copy": "Apple  TREE",
    "pear-1": "pear tree",
    "pear-2": "pear pie",
    "empty": "",
    "plum": "plum jam",
}
QUERIES = {"q-apple": "apple tree", "q-pear": "pear", "q-test": "plum", "q-none": "xyzzy"}
JUDGED = {
    "train": [("q-apple", "apple-1", 1), ("q-pear", "pear-1", 1), ("q-none", "plum", 1)],
    "test": [("q-test", "plum", 1), ("q-apple", "apple-2", 2)],
}


@pytest.fixture
def fruit(write_collection: WriteCollection, tmp_path: Path) -> Collection:
    folder = write_collection("fruit", PASSAGES, QUERIES, **JUDGED)
    return open_collection(folder, tmp_path / "cache")


def names(collection: Collection, rows: np.ndarray) -> list[str]:
    return collection.passage_ids([row for row in rows.tolist() if row >= 0])


def counts(folder: Path) -> dict[str, int]:
    found: dict[str, int] = json.loads((folder / "manifest.json").read_text())["counts"]
    return found


def test_relevance_covers_every_split_and_copies_of_the_text(fruit: Collection, tmp_path: Path) -> None:
    relevance = relevance_of(fruit, tmp_path / "cache")
    found = relevance.of(np.arange(4)[:, None], np.arange(8)[None, :])
    relevant = {
        (query, passage)
        for query, row in zip(QUERIES, found, strict=True)
        for passage, is_relevant in zip(PASSAGES, row, strict=True)
        if is_relevant
    }
    judged = {(query, passage) for pairs in JUDGED.values() for query, passage, _ in pairs}
    assert relevant == judged | {("q-apple", "copy")}
    assert relevance.empty(np.arange(8)).tolist() == [name == "empty" for name in PASSAGES]
    assert relevance.most == 3


def test_bm25_lists_hold_no_relevant_passage_of_any_split(fruit: Collection, tmp_path: Path) -> None:
    folder = mine(fruit, "bm25", 4, tmp_path / "cache")
    lists = NegativeLists.open(folder)
    assert fruit.query_ids(lists.query_rows) == ["q-apple", "q-pear", "q-none"]
    apple, pear, none = (names(fruit, row) for row in lists.rows)
    # "apple tree" matches three apples, its copy and the pear tree; the judged two and the copy are out.
    assert sorted(apple) == ["apple-3", "pear-1"]
    assert pear == ["pear-2"]
    assert none == []
    assert lists.rows.dtype == np.int32
    assert lists.scores.dtype == np.float32
    assert np.isneginf(lists.scores[lists.rows < 0]).all()
    expected = {"queries": 3, "kept": 3, "filtered_relevant": 4, "short_lists": 3, "empty_lists": 1}
    assert expected.items() <= counts(folder).items()


def test_lists_are_mined_once_per_method_and_depth(
    fruit: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = mine(fruit, "bm25", 4, tmp_path / "cache")
    assert mine(fruit, "bm25", 3, tmp_path / "cache") != folder
    monkeypatch.setattr(mining, "_bm25", lambda *_: pytest.fail("mined again"))
    assert mine(fruit, "bm25", 4, tmp_path / "cache") == folder


def test_mining_that_is_interrupted_leaves_nothing_behind(
    fruit: Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*_: object) -> list[Ranking]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mining, "_bm25", stops)
        with pytest.raises(KeyboardInterrupt):
            mine(fruit, "bm25", 4, tmp_path / "cache")
    assert [path for path in (tmp_path / "cache" / "negatives").iterdir() if path.is_dir()] == []
    assert counts(mine(fruit, "bm25", 4, tmp_path / "cache"))["queries"] == 3


def test_an_unknown_model_is_one_line(fruit: Collection, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "status.json").write_text("{}")
    with pytest.raises(ConfigError, match="has no model/ folder; finish the run first"):
        mine(fruit, str(run), 4, tmp_path / "cache")


class Vectors(Retriever):
    """Given vectors."""

    scores = INNER_PRODUCTS

    def __init__(self, queries: np.ndarray, passages: np.ndarray) -> None:
        self._queries, self._passages = queries, passages

    def encode(self, collection: Collection, side: str, rows: np.ndarray) -> np.ndarray:
        return (self._queries if side == "queries" else self._passages)[rows]


@given(st.integers(1, 9), st.integers(1, 30), st.integers(1, 12), st.integers(1, 10), st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_search_in_passes_is_the_ranking_by_inner_product(
    queries: int, passages: int, block: int, k: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    vectors = [random.normal(size=(n, 3)).astype(np.float32) for n in (queries, passages)]
    rows = np.arange(queries)[::2]
    collection: Any = SimpleNamespace(counts={"passages": passages})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mining, "TEXTS_A_BLOCK", block)
        found = list(search(Vectors(*vectors), collection, rows, k))
        patch.setattr(mining, "_MEMORY", 1)
        one_by_one = list(search(Vectors(*vectors), collection, rows, k))
    assert len(one_by_one) == len(rows)
    for parts in (found, one_by_one):
        columns, scores = (np.concatenate(lists) for lists in zip(*((p.columns, p.scores) for p in parts)))
        assert_ranking(Ranking(columns, scores), vectors[0][rows], vectors[1], k)


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_lists_are_the_best_irrelevant_passages(tmp_path_factory: pytest.TempPathFactory, data) -> None:  # type: ignore[no-untyped-def]
    size, width, depth = (
        data.draw(st.integers(1, 12)),
        data.draw(st.integers(1, 9)),
        data.draw(st.integers(1, 6)),
    )
    relevant = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    empty = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    ranked = data.draw(st.lists(st.permutations(range(size)), min_size=1, max_size=4))
    columns = np.array([(row + [-1] * width)[:width] for row in ranked])
    stand_in = SimpleNamespace(
        of=lambda query_rows, rows: np.broadcast_to(relevant[rows], np.broadcast(query_rows, rows).shape),
        empty=lambda rows: empty[rows],
    )
    folder = tmp_path_factory.mktemp("lists")
    ranking = Ranking(columns, -np.arange(columns.size, dtype=np.float32).reshape(columns.shape))
    write_lists(folder, np.arange(len(ranked)), [ranking], stand_in, depth, {})  # type: ignore[arg-type]
    lists = NegativeLists.open(folder)
    for row, found in zip(columns.tolist(), lists.rows.tolist(), strict=True):
        kept = [passage for passage in row if passage >= 0 and not relevant[passage] and not empty[passage]]
        assert found == (kept + [-1] * depth)[:depth]
    assert lists.counts["kept"] == int((lists.rows >= 0).sum())


def negatives_of(
    folder: Path, rows: list[list[int]], judged: list[tuple[int, int]], refresh: int = 0
) -> HardNegatives:
    """Query i has the i-th list; passages 0 … 59, each with its own text."""
    folder.mkdir()
    keys = np.unique([query * 60 + passage for query, passage in judged])
    np.save(folder / "texts.npy", np.arange(60, dtype=np.int32))
    np.save(folder / "keys.npy", keys)
    (folder / "relevance.json").write_text('{"empty_text": -1, "most": 1}')
    array = np.array(rows, np.int32)
    lists = NegativeLists(np.arange(len(rows)), array, np.zeros(array.shape, np.float32))
    return HardNegatives(lists, Relevance(folder), refresh)


def test_draws_come_from_the_own_list_without_repetition(tmp_path: Path) -> None:
    rows = [[10, 11, 12, 13], [20, 21, 22, -1], [30, -1, -1, -1]]
    negatives = negatives_of(tmp_path / "r", rows, [(0, 1), (1, 2), (2, 3)])
    queries = np.array([2, 0, 1, 0])
    for step in range(20):
        drawn = negatives.draw(queries, 3, step, (1, 0, 0))
        for query, found in zip(queries.tolist(), drawn.tolist(), strict=True):
            listed = {row for row in rows[query] if row >= 0}
            assert len(set(found[: len(listed)])) == min(3, len(listed))
            assert set(found[: len(listed)]) <= listed
        assert drawn.tolist() == negatives.draw(queries, 3, step, (1, 0, 0)).tolist()
    assert len({tuple(negatives.draw(queries, 3, step, (1, 0, 0))[1]) for step in range(30)}) > 5


def test_what_a_short_list_lacks_is_filled_with_irrelevant_passages(tmp_path: Path) -> None:
    judged = [(0, passage) for passage in range(30)]
    negatives = negatives_of(tmp_path / "r", [[-1, -1]], judged)
    drawn = np.concatenate([negatives.draw(np.array([0]), 4, step, (7,)) for step in range(200)])
    assert drawn.min() >= 30
    assert len(np.unique(drawn)) == 30


def test_a_query_without_a_list_is_a_mistake(tmp_path: Path) -> None:
    negatives = negatives_of(tmp_path / "r", [[10], [20]], [(0, 1)])
    with pytest.raises(ValueError, match="other queries"):
        negatives.draw(np.array([5]), 1, 0, (1,))


def test_a_refreshed_generation_serves_the_steps_after_its_refresh(tmp_path: Path) -> None:
    negatives = negatives_of(tmp_path / "r", [[10]], [(0, 1)], refresh=4)
    assert [negatives.generation(step) for step in range(10)] == [0, 0, 0, 0, 0, 1, 1, 1, 1, 2]
    query = np.array([0])
    assert negatives.draw(query, 1, 4, (1,)).tolist() == [[10]]
    with pytest.raises(RuntimeError, match="too far ahead"):
        negatives.draw(query, 1, 5, (1,))
    lists = NegativeLists(query, np.array([[33]], np.int32), np.zeros((1, 1), np.float32), {"kept": 1})
    negatives.use(1, lists)
    assert negatives.draw(query, 1, 4, (1,)).tolist() == [[10]]
    assert negatives.draw(query, 1, 5, (1,)).tolist() == [[33]]
    assert negatives.counts == {"negatives/kept": 1}


def training_pairs(folder: Path) -> TrainingPairs:
    source = pairs_of(folder / "a", [(i, i) for i in range(8)])
    # Passage 1 is relevant to query 0 by another split and on the list of query 2.
    judged = [*((i, i) for i in range(8)), (0, 1)]
    lists = [[40 + i, 50 + i] for i in range(8)]
    lists[2] = [1, 1]
    negatives = negatives_of(folder / "r", lists, judged)
    return TrainingPairs(source.name, source.queries, source.passages, source.pairs, source.known, negatives)


def passages_of(batch, name: str) -> list[int]:  # type: ignore[no-untyped-def]
    """Passage row of each column of a block; see :func:`store_of`."""
    ids = batch.tokens.ids[batch.tokens.starts()[batch.tokens.inverse.numpy()]].numpy()
    found: list[int] = (ids[batch.blocks[name].passages] - 1).tolist()
    return found


def test_hard_negatives_stand_after_the_positives_in_the_order_of_the_queries(tmp_path: Path) -> None:
    source = training_pairs(tmp_path)
    streams = (Stream("plain", (source,), 3, key=1), Stream("hard", (source,), 8, hard=2))
    batch = collate(streams, seed=3, step=0)
    columns = passages_of(batch, "hard")
    positives, hard = columns[:8], np.array(columns[8:]).reshape(8, 2).tolist()
    for query, found in zip(positives, hard, strict=True):
        assert sorted(found) == ([1, 1] if query == 2 else [40 + query, 50 + query])
    assert batch.blocks["hard"].labels.tolist() == list(range(8))
    assert batch.blocks["plain"].excluded.shape == (3, 3)
    assert batch.pairs == 11
    assert len(batch.tokens.lengths) == sum(stream.sequences for stream in streams)


def test_a_hard_negative_that_is_relevant_to_another_query_is_none_of_its_negatives(tmp_path: Path) -> None:
    source = training_pairs(tmp_path)
    batch = collate((Stream("hard", (source,), 8, hard=2),), seed=3, step=0)
    columns = passages_of(batch, "hard")
    excluded = batch.blocks["hard"].excluded.numpy()
    # The first eight columns follow the training split, as without hard negatives.
    assert not excluded[:, :8].any()
    for query, row in zip(columns[:8], excluded[:, 8:], strict=True):
        assert row.tolist() == [query in (0, 1) and passage == 1 for passage in columns[8:]]


def test_sources_of_a_stream_keep_their_hard_negatives_apart(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    sources = tuple(training_pairs(tmp_path / name) for name in "ab")
    stream = Stream("hard", sources, 6, hard=2)
    batch = collate((stream,), seed=3, step=0)
    columns = passages_of(batch, "hard")
    for query, found in zip(columns[:6], np.array(columns[6:]).reshape(6, 2).tolist(), strict=True):
        assert sorted(found) == ([1, 1] if query == 2 else [40 + query, 50 + query])
    excluded = batch.blocks["hard"].excluded.numpy()
    assert not excluded[:3, 12:].any()
    assert not excluded[3:, 6:12].any()


def test_batches_with_hard_negatives_depend_on_seed_and_step_alone(tmp_path: Path) -> None:
    streams = (Stream("hard", (training_pairs(tmp_path),), 5, hard=1),)
    every = [collate(streams, 5, step).tokens.ids.tolist() for step in range(8)]
    assert [collate(streams, 5, step).tokens.ids.tolist() for step in reversed(range(8))] == every[::-1]


def test_hard_negatives_that_were_not_mined_are_a_mistake(tmp_path: Path) -> None:
    source = training_pairs(tmp_path)
    plain = TrainingPairs(source.name, source.queries, source.passages, source.pairs, source.known)
    with pytest.raises(ValueError, match="none were mined"):
        collate((Stream("hard", (plain,), 4, hard=1),), seed=1, step=0)


def test_training_queries_are_those_of_the_training_split(fruit: Collection) -> None:
    assert training_queries(fruit).tolist() == [0, 1, 3]

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from retrieval.config import EvalConfig
from retrieval.data.collection import Collection
from retrieval.data.testset import EvaluationSet, build_evaluation_set

MakeCollection = Callable[..., Collection]


def relevant_pairs(part: EvaluationSet) -> list[tuple[str, str, int]]:
    queries = part.query_ids()
    passages = part.passage_ids(part.columns)
    return [(queries[i], p, int(g)) for i, p, g in zip(part.pair_queries(), passages, part.grades)]


def test_holds_every_relevant_pair_of_its_queries_and_no_other(make_collection: MakeCollection) -> None:
    collection = make_collection(
        [(f"p{index}", f"text {index}") for index in range(30)],
        [("a", "first"), ("b", "second"), ("c", "third"), ("d", "unjudged")],
        {
            "test": [("c", "p29", 1), ("a", "p20", 2), ("a", "p3", 1), ("b", "p7", 3), ("b", "p8", 0)],
            "train": [("d", "p1", 1)],
        },
    )
    part = build_evaluation_set(collection, "test", EvalConfig(max_queries=None, pool=None))
    assert relevant_pairs(part) == [("a", "p3", 1), ("a", "p20", 2), ("b", "p7", 3), ("c", "p29", 1)]
    assert part.queries() == ["first", "second", "third"]
    assert list(part.passages()) == [f"text {index}" for index in range(30)]
    sampled = build_evaluation_set(collection, "test", EvalConfig(max_queries=None, pool=10))
    assert relevant_pairs(sampled) == relevant_pairs(part)
    assert len(sampled.passage_rows) == 10
    assert list(sampled.passages()) == [f"text {row}" for row in sampled.passage_rows]


def test_pool_never_loses_a_relevant_passage(numbered_collection: MakeCollection) -> None:
    part = build_evaluation_set(numbered_collection(), "test", EvalConfig(max_queries=None, pool=20))
    assert part.passage_rows.tolist() == list(range(60))


def test_smaller_choices_are_subsets_of_larger_ones(numbered_collection: MakeCollection) -> None:
    collection = numbered_collection()
    sets = [
        build_evaluation_set(collection, "test", EvalConfig(max_queries=n, pool=200)) for n in (5, 20, 40)
    ]
    queries = [set(part.query_rows.tolist()) for part in sets]
    assert [len(part) for part in queries] == [5, 20, 40]
    assert queries[0] < queries[1] < queries[2]
    pools = [
        set(build_evaluation_set(collection, "test", EvalConfig(max_queries=5, pool=n)).passage_rows.tolist())
        for n in (50, 100, 400)
    ]
    assert [len(pool) for pool in pools] == [50, 100, 400]
    assert pools[0] < pools[1] < pools[2]


def test_choice_depends_on_the_seed_and_is_spread_over_the_corpus(
    numbered_collection: MakeCollection,
) -> None:
    collection = numbered_collection(passages=4000, queries=1000)
    config = EvalConfig(max_queries=100, pool=1000)
    part = build_evaluation_set(collection, "test", config)
    again = build_evaluation_set(collection, "test", config)
    assert (part.query_rows == again.query_rows).all()
    assert (part.passage_rows == again.passage_rows).all()
    assert part.fingerprint == again.fingerprint
    other = build_evaluation_set(collection, "test", EvalConfig(max_queries=100, pool=1000, seed=2))
    # Independent choices of 100 among 1000 share 10 ± 3.
    assert len(np.intersect1d(part.query_rows, other.query_rows)) < 30
    # The mean of 100 uniform rows has standard error 29, that of 900 rows 38.
    assert part.query_rows.mean() == pytest.approx(500, abs=120)
    assert np.setdiff1d(part.passage_rows, part.query_rows).mean() == pytest.approx(2050, abs=160)


def test_fingerprint_covers_what_chose_the_set_and_nothing_else(numbered_collection: MakeCollection) -> None:
    collection = numbered_collection()
    changed = [
        build_evaluation_set(collection, "test", config).fingerprint
        for config in (
            EvalConfig(),
            EvalConfig(pool=99),
            EvalConfig(max_queries=7),
            EvalConfig(seed=5),
        )
    ]
    other = build_evaluation_set(numbered_collection(passages=401, name="other"), "test", EvalConfig())
    ruled = build_evaluation_set(collection, "test", EvalConfig(), drop_identical=True)
    assert len({*changed, other.fingerprint, ruled.fingerprint}) == 6
    same = build_evaluation_set(collection, "test", EvalConfig(negatives=5, draws=2, bm25=False))
    assert same.fingerprint == changed[0]


def test_identical_id_rule_finds_the_passage_with_the_id_of_the_query(
    make_collection: MakeCollection,
) -> None:
    collection = make_collection(
        [(key, f"text {key}") for key in "vwxyz"],
        [("y", "one"), ("q", "two"), ("v", "three")],
        {"test": [("y", "w", 1), ("q", "w", 1), ("v", "x", 1)]},
    )
    config = EvalConfig(pool=None)
    assert build_evaluation_set(collection, "test", config, drop_identical=True).identical.tolist() == [
        3,
        -1,
        0,
    ]
    assert build_evaluation_set(collection, "test", config).identical.tolist() == [-1, -1, -1]

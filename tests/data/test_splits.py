"""Nested subsets, and the refusal of passages that training and test share."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.config.data import ROLES
from retrieval.data.collection import Collection, Judgements, open_collection
from retrieval.data.splits import check_disjoint, subset, subset_size
from retrieval.errors import ConfigError

Write = Callable[..., Path]


def pairs(count: int) -> tuple[Judgements, list[str], list[str]]:
    rows = np.arange(count)
    ids = [f"q{row}" for row in rows], [f"p{row % 7}" for row in rows]
    return Judgements(rows, rows % 7, np.ones(count, np.int32)), *ids


fractions = st.floats(min_value=1e-6, max_value=1, allow_nan=False)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 300), fractions, fractions, st.integers(0, 2**40))
def test_subsets_are_nested_sorted_and_of_the_right_size(
    count: int, one: float, two: float, seed: int
) -> None:
    small, large = sorted((one, two))
    inner, outer = subset(*pairs(count), small, seed), subset(*pairs(count), large, seed)
    assert set(inner) <= set(outer)
    assert inner.tolist() == sorted(set(inner.tolist()))
    assert 1 <= len(inner) <= count
    assert abs(len(inner) - small * count) <= 1
    assert inner.dtype == np.int64


@given(st.integers(1, 1000), st.integers(0, 100))
def test_everything_and_reproducible(count: int, seed: int) -> None:
    assert subset(*pairs(count), 1.0, seed).tolist() == list(range(count))
    np.testing.assert_array_equal(subset(*pairs(count), 0.3, seed), subset(*pairs(count), 0.3, seed))


def test_sizes_follow_ranks_below_frac_times_pairs() -> None:
    assert [subset_size(10, frac) for frac in (0.05, 0.1, 0.25, 0.3, 0.999, 1.0)] == [1, 1, 3, 3, 10, 10]
    # In floating point 0.1 · 30 is a little more than 3.
    assert subset_size(30, 0.1) == 3
    assert subset_size(1, 0.0001) == 1


def test_the_choice_does_not_depend_on_the_order_of_the_pairs() -> None:
    judgements, query_ids, passage_ids = pairs(200)
    order = np.random.default_rng(0).permutation(200)
    chosen = {(query_ids[at], passage_ids[at]) for at in subset(judgements, query_ids, passage_ids, 0.2, 5)}
    shuffled_queries = [query_ids[at] for at in order]
    shuffled_passages = [passage_ids[at] for at in order]
    again = subset(judgements.take(order), shuffled_queries, shuffled_passages, 0.2, 5)
    assert {(shuffled_queries[at], shuffled_passages[at]) for at in again} == chosen


def test_the_choice_is_the_same_on_every_machine() -> None:
    def rank_key(at: int) -> int:
        content = f"1\tq{at}\tp{at % 7}".encode()
        return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")

    chosen = subset(*pairs(40), 0.2, 1).tolist()
    assert chosen == sorted(sorted(range(40), key=rank_key)[:8])
    assert chosen == [2, 3, 6, 8, 11, 14, 23, 29]


def test_seeds_give_unrelated_subsets() -> None:
    one, two = (set(subset(*pairs(1000), 0.1, seed).tolist()) for seed in (1, 2))
    # Expected 10 of 100 in common; 30 would be more than six standard deviations away.
    assert len(one & two) < 30


@pytest.mark.parametrize("frac", [0.0, -0.1, 1.5, float("nan")])
def test_frac_out_of_range(frac: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        subset(*pairs(5), frac, 1)


@pytest.fixture
def open_small(write_collection: Write, tmp_path: Path) -> Callable[..., Collection]:
    return lambda name, **content: open_collection(write_collection(name, **content), tmp_path / "cache")


TWO = {"p1": "about lions", "p2": "about tigers"}


def test_disjoint_collections_lose_nothing(open_small: Callable[..., Collection]) -> None:
    in_domain = open_small("in", passages=TWO)
    robust = open_small("robust", passages={"p1": "about bears", "p2": "about wolves"})
    ood = open_small("ood", passages={"p1": "about trees", "p2": "about grass"}, test=[("q1", "p1", 1)])
    overlap = check_disjoint(in_domain, {"robust": robust}, {"ood": ood})
    assert {name: indexes.tolist() for name, indexes in overlap.drop.items()} == {"in": [], "robust": []}
    assert overlap.counts == {}
    assert len(overlap.keep("in", in_domain.judgements("train"))) == 1


def test_a_passage_relevant_in_train_and_test_is_refused_or_dropped(
    open_small: Callable[..., Collection],
) -> None:
    content = {"train": [("q1", "p1", 1), ("q1", "p2", 1), ("q2", "p3", 1)], "test": [("q2", "p2", 1)]}
    collection = open_small("scifact", **content)
    with pytest.raises(ConfigError) as caught:
        check_disjoint(collection, {}, {})
    assert str(caught.value) == (
        "training pairs have passages that are also relevant in a test: 1 of scifact's with scifact; "
        "leave these pairs out of training with data.overlap=drop"
    )
    overlap = check_disjoint(collection, {}, {}, "drop")
    assert overlap.drop["scifact"].tolist() == [1]
    assert overlap.counts == {"overlap/scifact/scifact": 1}
    assert overlap.keep("scifact", collection.judgements("train")).passage_rows.tolist() == [0, 2]


def test_copies_under_other_ids_are_found_across_collections(open_small: Callable[..., Collection]) -> None:
    both = [("q1", "p1", 1), ("q1", "p2", 1)]
    in_domain = open_small("in", passages=TWO, train=both)
    robust = open_small("robust", passages={"p1": "about tigers", "p2": "about bears"}, train=both)
    ood = open_small("ood", passages={"z": "About\n LIONS"}, test=[("q1", "z", 1)])
    overlap = check_disjoint(in_domain, {"robust": robust}, {"ood": ood}, "drop")
    assert {name: indexes.tolist() for name, indexes in overlap.drop.items()} == {"in": [0], "robust": []}
    assert overlap.counts == {"overlap/in/ood": 1}
    with pytest.raises(ConfigError, match="1 of in's with ood; leave these pairs out"):
        check_disjoint(in_domain, {"robust": robust}, {"ood": ood})


def test_development_passages_are_held_out_too(open_small: Callable[..., Collection]) -> None:
    robust = open_small(
        "robust", passages=TWO, train=[("q1", "p1", 1), ("q2", "p2", 1)], dev=[("q1", "p2", 1)]
    )
    in_domain = open_small("in", passages={"p1": "about trees"}, train=[("q1", "p1", 1)])
    assert check_disjoint(in_domain, {"robust": robust}, {}, "drop").drop["robust"].tolist() == [1]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_what_is_relevant_in_robust_dev_is_held_out(
    open_small: Callable[..., Collection], split: str
) -> None:
    both = [("q1", "p1", 1), ("q1", "p2", 1)]
    in_domain = open_small("in", passages=TWO, train=both)
    robust = open_small("robust", passages={"p1": "about tigers", "p2": "about bears"}, train=both)
    dev = {"unknown": open_small("unknown", passages={"z": "About\n LIONS"}, **{split: [("q1", "z", 1)]})}
    overlap = check_disjoint(in_domain, {"robust": robust}, {}, "drop", dev)
    assert {name: indexes.tolist() for name, indexes in overlap.drop.items()} == {"in": [0], "robust": []}
    assert overlap.counts == {"overlap/in/unknown": 1}
    with pytest.raises(ConfigError, match="1 of in's with unknown; leave these pairs out"):
        check_disjoint(in_domain, {"robust": robust}, {}, robust_dev=dev)


def test_the_own_test_split_of_a_robust_domain_is_not_used(open_small: Callable[..., Collection]) -> None:
    robust = open_small(
        "robust", passages=TWO, train=[("q1", "p1", 1), ("q2", "p2", 1)], test=[("q1", "p2", 1)]
    )
    in_domain = open_small("in", passages={"p1": "about trees"}, train=[("q1", "p1", 1)])
    assert check_disjoint(in_domain, {"robust": robust}, {}).counts == {}


def test_empty_passages_are_no_copies_of_each_other(open_small: Callable[..., Collection]) -> None:
    in_domain = open_small("in", passages={"p1": "about trees", "p2": ""}, train=[("q1", "p1", 1)])
    ood = open_small("ood", passages={"z": ""}, test=[("q1", "z", 1)])
    assert check_disjoint(in_domain, {}, {"ood": ood}).counts == {}


def test_nothing_left_to_train_on(open_small: Callable[..., Collection]) -> None:
    in_domain = open_small("in", passages=TWO, train=[("q1", "p1", 1)])
    ood = open_small("ood", passages={"z": "about lions", "y": "about bears"}, test=[("q1", "z", 1)])
    with pytest.raises(ConfigError, match="every training pair of in has a passage"):
        check_disjoint(in_domain, {}, {"ood": ood}, "drop")


def test_a_collection_has_one_role(open_small: Callable[..., Collection]) -> None:
    in_domain, other = open_small("in", passages=TWO), open_small("other")
    with pytest.raises(ConfigError, match=r"other is in data\.robust and in data\.ood"):
        check_disjoint(in_domain, {"other": other}, {"other": other})
    with pytest.raises(ConfigError, match=r"data\.ood copy has the same content as data\.robust other"):
        check_disjoint(in_domain, {"other": other}, {"copy": open_small("copy")})
    with pytest.raises(
        ConfigError, match=r"data\.ood copy has the same content as the in-domain collection in"
    ):
        check_disjoint(in_domain, {}, {"copy": open_small("again", passages=TWO)})
    with pytest.raises(ConfigError, match=r"in is in data\.robust and in data\.path"):
        check_disjoint(in_domain, {"in": other}, {})


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ROLES, 2)))
def test_no_two_roles_share_a_name_or_a_content(
    open_small: Callable[..., Collection], first: str, second: str
) -> None:
    in_domain, other, copy = open_small("in", passages=TWO), open_small("other"), open_small("copy")

    def check(roles: dict[str, dict[str, Collection]]) -> None:
        robust, robust_dev, ood = (roles.get(role, {}) for role in ROLES)
        check_disjoint(in_domain, robust, ood, robust_dev=robust_dev)

    with pytest.raises(ConfigError, match=rf"other is in data\.{first} and in data\.{second}"):
        check({first: {"other": other}, second: {"other": other}})
    with pytest.raises(
        ConfigError, match=rf"data\.{second} copy has the same content as data\.{first} other"
    ):
        check({first: {"other": other}, second: {"copy": copy}})
    for role in (first, second):
        with pytest.raises(ConfigError, match=rf"in is in data\.{role} and in data\.path"):
            check({role: {"in": other}})
        with pytest.raises(ConfigError, match=rf"data\.{role} twin has the same content as the in-domain"):
            check({role: {"twin": in_domain}})


def test_unknown_way_to_treat_overlap(open_small: Callable[..., Collection]) -> None:
    with pytest.raises(ConfigError, match=r"data\.overlap='ignore' is unknown; choose one of refuse, drop"):
        check_disjoint(open_small("in"), {}, {}, "ignore")


def test_scifact_shares_abstracts_between_train_and_test(shared: Path, tmp_path: Path) -> None:
    collection = open_collection(shared / "collections" / "scifact", tmp_path)
    with pytest.raises(ConfigError, match=r"295 of scifact's with scifact; .* data\.overlap=drop"):
        check_disjoint(collection, {}, {})
    overlap = check_disjoint(collection, {}, {}, "drop")
    train, test = collection.judgements("train"), collection.judgements("test")
    naive = np.isin(train.passage_rows, test.passage_rows)
    np.testing.assert_array_equal(overlap.drop["scifact"], np.flatnonzero(naive))

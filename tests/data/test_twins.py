"""Twins are merged, boilerplate is dropped, and splits share neither queries nor passages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.data.sources.extraction import Pair
from retrieval.data.sources.twins import MAX_TWINS, pool, split


def pair(query: str, text: str, name: str = "n") -> Pair:
    return Pair(name, name, query, text)


def test_twins_of_queries_and_of_passages() -> None:
    found = pool(
        [
            pair("Return the sum.", "body one", "a"),
            pair("return  the SUM", "body two", "b"),
            pair("Add it all up.", "Body  ONE.", "c"),
            pair("Return the sum!", "body one", "d"),
        ]
    )
    assert found.relevant == {"return the sum": ["body one", "body two"], "add it all up": ["body one"]}
    assert found.queries == {"return the sum": "Return the sum.", "add it all up": "Add it all up."}
    assert {text: first.name for text, first in found.passages.items()} == {"body one": "a", "body two": "b"}
    assert found.dropped == {"repeated": 1}


def test_boilerplate_is_dropped_with_its_passages() -> None:
    just = [pair("Run the test.", f"body {number}") for number in range(MAX_TWINS)]
    assert len(pool(just).relevant["run the test"]) == MAX_TWINS
    more = [*just, pair("Run the test.", "body more"), pair("Another query.", "body 0")]
    found = pool(more)
    assert list(found.relevant) == list(found.queries) == ["another query"]
    assert list(found.passages) == ["body 0"]
    assert found.dropped == {"boilerplate_summary": MAX_TWINS + 1}


def test_passages_of_other_domains_and_leaked_summaries() -> None:
    found = pool([pair("Query one.", "shared"), pair("Query two.", "it says query two here")], {"shared"})
    assert (found.relevant, found.queries, found.passages) == ({}, {}, {})
    assert found.dropped == {"passage_of_other_domain": 1, "summary_in_passage": 1}


graphs = st.dictionaries(
    st.integers(0, 60).map(lambda number: f"q{number}"),
    st.lists(st.integers(0, 60).map(lambda number: f"p{number}"), min_size=1, max_size=3, unique=True),
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(graphs, st.integers(0, 20), st.integers(0, 20), st.sampled_from(["train", None]), st.randoms())
def test_splits_share_nothing(relevant, test, dev, rest, random) -> None:  # type: ignore[no-untyped-def]
    assigned = split(relevant, {"test": test, "dev": dev}, rest)
    passages: dict[str, set[str]] = {}
    for query, name in assigned.items():
        passages.setdefault(name, set()).update(relevant[query])
    assert sum(map(len, passages.values())) == len(set().union(*passages.values()))
    sizes = [list(assigned.values()).count(name) for name in ("test", "dev")]
    assert sizes[0] <= test
    assert sizes[1] <= dev
    if rest:
        assert assigned.keys() == relevant.keys()
    shuffled = list(relevant.items())
    random.shuffle(shuffled)
    assert split(dict(shuffled), {"test": test, "dev": dev}, rest) == assigned


def test_sizes_are_met_when_groups_are_small() -> None:
    relevant = {f"q{number}": [f"p{number}"] for number in range(100)}
    assigned = split(relevant, {"test": 20, "dev": 10}, "train")
    counts = {name: list(assigned.values()).count(name) for name in ("test", "dev", "train")}
    assert counts == {"test": 20, "dev": 10, "train": 70}


@pytest.mark.parametrize("rest", ["train", None])
def test_a_group_too_large_for_a_test_is_passed_over(rest: str | None) -> None:
    relevant = {f"q{number}": ["shared"] for number in range(5)} | {"single": ["own"]}
    assigned = split(relevant, {"test": 2}, rest)
    assert assigned.pop("single") == "test"
    assert set(assigned.values()) == ({"train"} if rest else set())

"""``data=synthetic``: reproducible, of any size, learnable, with a shift between domains."""

from __future__ import annotations

import dataclasses
import itertools
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from retrieval.config.data import ROLES
from retrieval.data import sources
from retrieval.data.collection import Collection, open_collection
from retrieval.data.sources.synthetic import SyntheticConfig
from retrieval.data.splits import check_disjoint
from retrieval.errors import ConfigError

SMALL = SyntheticConfig(passages=300, queries=200, topics=10, words=400, domains=3, seed=7)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def opened(config: SyntheticConfig, cache: Path) -> dict[str, Collection]:
    suite = sources.prepare(config, cache)
    folders = {"in-domain": suite.in_domain, **suite.robust, **suite.robust_dev, **suite.ood}
    return {name: open_collection(folder, cache, name) for name, folder in folders.items()}


def roles(cache: Path, **changes: object) -> tuple[list[str], list[str], list[str]]:
    suite = sources.prepare(dataclasses.replace(SMALL, **changes), cache)  # type: ignore[arg-type]
    return list(suite.robust), list(suite.robust_dev), list(suite.ood)


def test_roles_and_sizes(cache: Path) -> None:
    assert roles(cache) == (["domain-1"], ["domain-2"], ["domain-3"])
    for collection in opened(SMALL, cache).values():
        assert collection.counts["passages"] == 300
        assert collection.counts["queries"] == 200
        assert {split: len(collection.judgements(split)) for split in collection.splits} == {
            "train": 140,
            "dev": 20,
            "test": 40,
        }


def test_roles_can_be_chosen(cache: Path) -> None:
    assert roles(cache, robust=["domain-3"]) == (["domain-3"], [], ["domain-1", "domain-2"])
    assert roles(cache, ood=["domain-1"]) == (["domain-2"], [], ["domain-1"])
    assert roles(cache, robust_dev=["domain-1"]) == (["domain-2"], ["domain-1"], ["domain-3"])
    assert roles(cache, robust_dev=["domain-3"], ood=["domain-1"]) == (
        ["domain-2"],
        ["domain-3"],
        ["domain-1"],
    )


def test_few_domains_leave_none_for_robust_dev(cache: Path) -> None:
    assert roles(cache, domains=4) == (["domain-1"], ["domain-2"], ["domain-3", "domain-4"])
    assert roles(cache, domains=2) == (["domain-1"], [], ["domain-2"])
    assert roles(cache, domains=1) == (["domain-1"], [], [])
    assert roles(cache, domains=0) == ([], [], [])


def test_the_fingerprint_follows_the_roles(cache: Path) -> None:
    changes: list[dict[str, list[str]]] = [
        {},
        {"robust": ["domain-1"], "ood": ["domain-2", "domain-3"]},
        {"robust": ["domain-1"], "robust_dev": ["domain-3"], "ood": ["domain-2"]},
        {"robust": ["domain-1"], "robust_dev": ["domain-2", "domain-3"]},
    ]
    found = [sources.fingerprint(dataclasses.replace(SMALL, **change)) for change in changes]  # type: ignore[arg-type]
    assert len(set(found)) == len(found)
    assert found[0] == sources.prepare(SMALL, cache).fingerprint


def test_the_same_seed_gives_the_same_bytes(cache: Path, tmp_path: Path) -> None:
    one, two = sources.prepare(SMALL, cache), sources.prepare(SMALL, tmp_path)
    files = [path.relative_to(one.in_domain.parent) for path in one.in_domain.parent.rglob("*.*")]
    assert len(files) == 21
    for name in files:
        assert (one.in_domain.parent / name).read_bytes() == (two.in_domain.parent / name).read_bytes()
    assert one.fingerprint == two.fingerprint == sources.fingerprint(SMALL)


@pytest.mark.parametrize("change", [{"seed": 8}, {"topics": 11}, {"words": 500}, {"passages": 301}])
def test_fingerprint_follows_what_is_drawn(change: dict[str, int]) -> None:
    assert sources.fingerprint(dataclasses.replace(SMALL, **change)) != sources.fingerprint(SMALL)


def test_fingerprint_ignores_what_is_not_drawn() -> None:
    config = dataclasses.replace(SMALL, frac=0.1, vocabulary=99, label="other")
    assert sources.fingerprint(config) == sources.fingerprint(SMALL)


def test_text_is_known_for_a_seed(cache: Path) -> None:
    collection = opened(SMALL, cache)["in-domain"]
    assert collection.query_texts([0]) == ["badule pozoro badule rowuko lofanu tapedi"]


def test_a_larger_collection_starts_with_the_smaller_one(cache: Path) -> None:
    small = list(opened(SMALL, cache)["in-domain"].passages())
    large = list(opened(dataclasses.replace(SMALL, passages=1500), cache)["in-domain"].passages())
    assert large[:300] == small


def test_roles_and_splits_are_disjoint(cache: Path) -> None:
    collections = opened(SMALL, cache)
    in_domain, robust = collections.pop("in-domain"), {"domain-1": collections.pop("domain-1")}
    robust_dev = {"domain-2": collections.pop("domain-2")}
    assert check_disjoint(in_domain, robust, collections, robust_dev=robust_dev).counts == {}


def test_queries_of_one_passage_stay_in_one_split(cache: Path) -> None:
    collection = opened(dataclasses.replace(SMALL, queries=900), cache)["in-domain"]
    seen = [set(collection.judgements(split).passage_rows.tolist()) for split in collection.splits]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 300


def words_in_common(collection: Collection, split: str) -> tuple[float, float]:
    """Mean share of a query's words in its passage, and in another passage."""
    judgements = collection.judgements(split)
    queries = [set(text.split()) for text in collection.query_texts(judgements.query_rows)]
    passages = [set(text.split()) for text in collection.passage_texts(judgements.passage_rows)]
    own = np.mean(
        [len(query & passage) / len(query) for query, passage in zip(queries, passages, strict=True)]
    )
    other = np.mean(
        [
            len(query & passage) / len(query)
            for query, passage in zip(queries, passages[1:] + passages[:1], strict=True)
        ]
    )
    return float(own), float(other)


def test_queries_resemble_their_passages_but_words_alone_do_not_suffice(cache: Path) -> None:
    own, other = words_in_common(opened(SMALL, cache)["in-domain"], "train")
    assert other + 0.1 < own < 0.6


def vocabulary(collection: Collection) -> set[str]:
    return {word for _, text in collection.passages() for word in text.split()}


def test_domains_share_a_part_of_their_words(cache: Path) -> None:
    collections = opened(SMALL, cache)
    base, first, second = (vocabulary(collections[name]) for name in ("in-domain", "domain-1", "domain-2"))
    assert 0.3 < len(base & first) / len(base) < 0.9
    # What a robust-training domain adds is partly what an OOD test domain needs.
    assert 0.2 < len((first & second) - base) / len(second - base) < 0.9


WRONG = {
    "topics": (500, "data.topics=500 needs more words than data.words=400; at most 70 topics fit"),
    "robust": (["domain-9"], "data.robust names the unknown domain 'domain-9'; choose from domain-1,"),
    "robust_dev": (["law"], "data.robust_dev names the unknown domain 'law'; choose from domain-1,"),
    "ood": (["finance"], "data.ood names the unknown domain 'finance'"),
}  # fmt: skip


@pytest.mark.parametrize("key", WRONG)
def test_values_out_of_range(key: str) -> None:
    value, message = WRONG[key]
    with pytest.raises(ConfigError) as caught:
        sources.fingerprint(dataclasses.replace(SMALL, **{key: value}))
    assert message in str(caught.value)


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ROLES, 2)))
def test_a_domain_with_two_roles(first: str, second: str) -> None:
    wrong = dataclasses.replace(SMALL, **{first: ["domain-1"], second: ["domain-1"]})  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"'domain-1' is in data\.{first} and in data\.{second}"):
        sources.fingerprint(wrong)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_collection(tmp_path: Path) -> None:
    peaks = []
    for passages in (5_000, 50_000):
        tracemalloc.start()
        config = dataclasses.replace(SMALL, passages=passages, queries=passages // 10, domains=0)
        sources.prepare(config, tmp_path)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]

"""Bias probes: the edits, and what retrievers that are known in full prefer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.config.evaluation import PROBES
from retrieval.data.collection import Collection
from retrieval.evaluation import intervals
from retrieval.evaluation.probe import MOST_WORDS, Excerpt, content_words, excerpt_of
from retrieval.evaluation.probing import pairs_of, preference, with_probes
from retrieval.evaluation.suite import build_sets, evaluate_suite
from retrieval.search.retriever import TextRetriever
from tests.evaluation.test_variations import CONFIG, Constant, Lexical

MakeCollection = Callable[..., Collection]
PASSAGE = "A list of names. It returns the mean of a tensor.\n\nSee also sums. Raises nothing."
QUERY = "mean of the tensor"
WORDS = ["mean", "tensor", "sum", "of", "the", "list", "a", "names"]
SENTENCES = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=30).map(" ".join), max_size=8)


def test_the_evidence_and_what_stands_around_it() -> None:
    found = excerpt_of(QUERY, PASSAGE)
    assert found == Excerpt(
        QUERY,
        ("A list of names.", "It returns the mean of a tensor.", "See also sums.", "Raises nothing."),
        1,
        2,
    )
    assert excerpt_of(QUERY, " \n\n ") is None


@given(SENTENCES)
@settings(deadline=None)
def test_an_excerpt_is_a_stretch_of_the_passage_that_models_read(sentences: list[str]) -> None:
    passage = " ".join(f"{sentence}." for sentence in sentences)
    found = excerpt_of(QUERY, passage)
    assert (found is None) == (not sentences)
    if found is not None:
        assert len(found.text.split()) <= MOST_WORDS
        assert found.text in passage
        best = max(len(content_words(QUERY) & content_words(sentence)) for sentence in sentences)
        assert found.shared == best
        for kind in PROBES:
            pair = PROBES[kind]().pair(found)
            assert pair is None or all(pair)


def pair(kind: str, query: str = QUERY, passage: str = PASSAGE) -> tuple[str, str] | None:
    excerpt = excerpt_of(query, passage)
    assert excerpt is not None
    made: tuple[str, str] | None = PROBES[kind]().pair(excerpt)
    return made


def test_the_pair_of_every_probe() -> None:
    evidence, rest = "It returns the mean of a tensor.", "A list of names. See also sums. Raises nothing."
    whole = "A list of names. It returns the mean of a tensor. See also sums. Raises nothing."
    assert pair("length") == (evidence, whole)
    assert pair("position") == (f"{evidence} {rest}", f"{rest} {evidence}")
    assert pair("repetition") == (f"{QUERY} {whole}", f"A list of names. {whole}")
    literal = pair("literal")
    assert literal is not None
    assert literal[1] == whole.replace("mean ", "").replace("tensor", "")
    assert Counter(literal[0].split()) != Counter(whole.split())
    assert {"mean", "tensor"} <= content_words(literal[0])
    assert len(content_words(literal[0])) == len(content_words(literal[1]))
    for kind in ("length", "position"):
        assert pair(kind, passage=evidence) is None
        assert pair(kind, query="zebra") is None
    assert pair("literal", query="zebra") is None
    assert pair("literal", passage="mean tensor") is None
    assert pair("repetition", passage="mean tensor") is None


@pytest.fixture
def collection(make_collection: MakeCollection) -> Collection:
    texts = [f"Some words here. The key{i} gives value{i}. Then other things." for i in range(40)]
    return make_collection(
        [(f"p{i}", text) for i, text in enumerate(texts)],
        [(f"q{i}", f"key{i} value{i}") for i in range(30)],
        {"test": [(f"q{i}", f"p{i}", 1) for i in range(30)]},
    )


def probed(retriever: TextRetriever, collection: Collection, cache: Path) -> dict[str, float]:
    config = replace(CONFIG, probes=list(PROBES), bm25=False)
    suite = evaluate_suite(retriever, build_sets(collection, {}, config), config, cache, keep=True)
    return with_probes(retriever, suite, config).metrics


def test_a_constant_scorer_prefers_nothing(collection: Collection, tmp_path: Path) -> None:
    metrics = probed(Constant(), collection, tmp_path)
    for kind in PROBES:
        assert metrics[f"bias/{kind}/preference"] == 0.5
        assert metrics[f"bias/{kind}/preference/low"] < 0.5 < metrics[f"bias/{kind}/preference/high"]
        assert metrics[f"bias/{kind}/pairs"] == 30
        assert f"bias/{kind}/difference" not in metrics


def test_a_counter_of_words_prefers_literal_words_and_repetition_alone(
    collection: Collection, tmp_path: Path
) -> None:
    metrics = probed(Lexical(), collection, tmp_path)
    for kind, expected in {"length": 0.5, "position": 0.5, "literal": 1.0, "repetition": 1.0}.items():
        assert metrics[f"bias/{kind}/preference"] == expected
    # Marks cling to words: the key is counted in the passage and the value is not, so that its query scores
    # 1 there and 0 elsewhere, repeated 3; the candidates are 40.
    spread = np.std([1.0] + 39 * [0.0])
    assert metrics["bias/repetition/difference"] == pytest.approx(2 / spread)
    assert metrics["bias/length/difference"] == 0.0


def test_a_query_without_a_pair_is_left_out(make_collection: MakeCollection, tmp_path: Path) -> None:
    collection = make_collection(
        [(f"p{i}", f"word{i}. More of it.") for i in range(20)],
        [("a", "word0"), ("b", "zebra"), ("c", "word2")],
        {"test": [("a", "p0", 1), ("b", "p1", 1), ("c", "p3", 1), ("c", "p2", 2)]},
    )
    pairs = pairs_of(build_sets(collection, {}, CONFIG).eff, "length")
    assert pairs.queries.tolist() == [0, 2]
    # Of several relevant passages it is the one of the highest grade.
    assert pairs.biased == ["word0.", "word2."]
    assert probed(Lexical(), collection, tmp_path)["bias/length/pairs"] == 2
    assert "bias/literal/preference" in probed(Lexical(), collection, tmp_path)


def test_wilsons_interval_and_ties() -> None:
    # Newcombe 1998, table I: 81 of 263.
    assert intervals.of_share(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    low, high = intervals.of_share(0, 10)
    assert low == 0
    assert high == pytest.approx(0.2775, abs=1e-4)
    found = preference("bias/x", np.array([1.0, 2.0, 0.0]), np.array([1.0, 1.0, 4.0]), 2.0)
    assert found["bias/x/preference"] == 0.5
    assert found["bias/x/difference"] == pytest.approx(-0.5)

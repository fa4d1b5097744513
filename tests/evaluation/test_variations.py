"""Variations of queries as functions of text and seed, and what they cost retrievers known in full."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.config import EvalConfig
from retrieval.config.evaluation import VARIATIONS
from retrieval.config.validation import validate
from retrieval.data.collection import Collection
from retrieval.data.tokens import Side
from retrieval.errors import ConfigError
from retrieval.evaluation import intervals
from retrieval.evaluation.suite import Measured, build_sets, evaluate_suite, save_scores
from retrieval.evaluation.variations.prefix import PREFIXES
from retrieval.evaluation.varied import varied_texts, with_variations
from retrieval.models.scores import INNER_PRODUCTS
from retrieval.search.retriever import TextRetriever
from tests.end_to_end.conftest import composed
from tests.evaluation.conftest import load_scores

MakeCollection = Callable[..., Collection]
CONFIG = EvalConfig(max_queries=None, pool=None, negatives=5, draws=3)
WORDS = ["tensor", "of", "Shapes", "num_layers", "returns", "the", "café", "running.", '"x1"', "C++", "?"]
TEXTS = st.text(max_size=40) | st.lists(st.sampled_from(WORDS), max_size=10).map(" ".join)
SEEDS = st.integers(0, 2**31 - 1)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lists") / "synonyms.json"
    path.write_text(json.dumps({"tensor": ["array", "matrix"], "returns": {"verb": ["gives"]}}))
    return path


@pytest.mark.parametrize("kind", VARIATIONS.names())
@given(text=TEXTS, seed=SEEDS)
@settings(deadline=None, max_examples=60)
def test_a_variation_follows_from_text_and_seed_and_leaves_something(
    kind: str, listed: Path, text: str, seed: int
) -> None:
    vary = VARIATIONS[kind](replace(CONFIG, synonyms=str(listed)))
    varied = vary(text, seed)
    assert varied == VARIATIONS[kind](replace(CONFIG, synonyms=str(listed)))(text, seed)
    assert bool(varied.strip()) == bool(text.strip())


def vary(kind: str, text: str, seed: int = 1, **options: object) -> str:
    varied: str = VARIATIONS[kind](replace(CONFIG, **options))(text, seed)  # type: ignore[arg-type]
    return varied


def test_case_changes_capitals_and_marks_alone() -> None:
    found = {vary("case", 'Is "num_layers" of C++ set?', seed) for seed in range(30)}
    assert found == {
        "is num_layers of c++ set",
        "IS NUM_LAYERS OF C++ SET",
        "Is Num_layers Of C++ Set",
    }
    assert {vary("case", "mean of x", seed) for seed in range(30)} == {
        "mean of x?",
        "MEAN OF X?",
        "Mean Of X?",
    }
    assert vary("case", "? !") == "? !?"


@given(TEXTS, SEEDS)
@settings(deadline=None)
def test_order_keeps_the_words(text: str, seed: int) -> None:
    varied = vary("order", text, seed)
    assert sorted(varied.split()) == sorted(text.split())
    assert (varied.split() == text.split()) == (len(set(text.split())) < 2)


def test_stop_words_stems_and_prefixes() -> None:
    assert vary("stopwords", "What is the mean of a tensor?") == "What mean tensor?"
    assert vary("stopwords", "to be or not to be") == "to be or not to be"
    assert vary("stem", "Running shapes of num_layers, RNN") == "run shape of num_layers, RNN"
    assert vary("prefix", "mean") in {f"{prefix} mean" for prefix in PREFIXES}
    assert {vary("prefix", "mean", seed) for seed in range(200)} == {f"{prefix} mean" for prefix in PREFIXES}


def test_synonyms_keep_capitals_and_the_rate(listed: Path) -> None:
    options = {"synonyms": str(listed), "variation_rate": 1.0}
    found = {vary("synonyms", "Tensor returns num_layers", seed, **options) for seed in range(30)}
    assert found == {"Array gives num_layers", "Matrix gives num_layers"}
    options["variation_rate"] = 0.1
    words = ["tensor", "returns", "tensor", "returns", "it"]
    for seed in range(10):
        varied = vary("synonyms", " ".join(words), seed, **options).split()
        assert sum(a != b for a, b in zip(words, varied, strict=True)) == 1


class Lexical(TextRetriever):
    """Counts words that query and passage share; all words of a text, of any collection."""

    scores = INNER_PRODUCTS

    def __init__(self) -> None:
        self.places: dict[str, int] = {}
        self.asked: list[str] = []

    def rows(self, texts: list[str]) -> np.ndarray:
        found = np.zeros((len(texts), 400), dtype=np.float32)
        for row, text in zip(found, texts, strict=True):
            for word in text.lower().split():
                row[self.places.setdefault(word, len(self.places))] += 1
        return found

    def encode(self, collection: Collection, side: Side, rows: np.ndarray) -> np.ndarray:
        return self.rows(getattr(collection, f"{side[:-1] if side == 'passages' else 'query'}_texts")(rows))

    def encode_texts(self, texts: list[str], side: Side) -> np.ndarray:  # type: ignore[override]
        self.asked += texts
        return self.rows(list(texts))


class Constant(Lexical):
    """Knows no word from another."""

    def rows(self, texts: list[str]) -> np.ndarray:
        return np.ones((len(texts), 4), dtype=np.float32)


@pytest.fixture
def collection(make_collection: MakeCollection) -> Collection:
    """Query ``q7`` asks for two words that passage ``p7`` alone has, among forty."""
    names = [f"{a}{b}{c}{d}" for a in "bdfg" for b in "aeiou" for c in "lm" for d in "ou"]
    return make_collection(
        [(f"p{i}", f"{name} {name}ness common") for i, name in enumerate(names)],
        [(f"q{i}", f"{name} {name}ness") for i, name in enumerate(names[:30])],
        {"test": [(f"q{i}", f"p{i}", 1) for i in range(30)]},
    )


def measured(retriever: TextRetriever, collection: Collection, cache: Path, config: EvalConfig) -> Measured:
    sets = build_sets(collection, {}, config)
    suite = evaluate_suite(retriever, sets, config, cache, keep=True)
    return with_variations(retriever, suite, config, cache)


def test_a_lexical_scorer_is_untouched_by_order_and_hurt_by_typos_as_computed_by_hand(
    collection: Collection, tmp_path: Path
) -> None:
    config = replace(CONFIG, variations=["order", "typo"], variation_rate=1.0)
    retriever = Lexical()
    found = measured(retriever, collection, tmp_path, config)
    metrics = found.metrics
    assert metrics["eff/ndcg@10"] == 1.0
    for name in ("contrastive_entropy", "ndcg@10", "mrr@10", "recall@100"):
        assert metrics[f"var/order/{name}"] == metrics[f"eff/{name}"]
    assert metrics["var/order/changed"] == metrics["var/typo/changed"] == 1.0
    for end in ("", "/low", "/high"):
        assert metrics[f"var/order/drop/ndcg@10{end}"] == 0.0
    # With a typing error in either word a query shares no word with any passage: all scores are 0, and the
    # entropy is ln 6. Where an error makes another collection's word of it, that one is above.
    typos = varied_texts([text for _, text in collection.queries()], "typo", config)
    vocabulary = {word for _, text in collection.passages() for word in text.split()}
    lost = np.array([not vocabulary & set(text.split()) for text in typos])
    assert lost.sum() > 20
    entropies = found.scores["var/typo"].queries["contrastive_entropy"]
    assert entropies[lost] == pytest.approx(np.full(lost.sum(), math.log(6)))
    assert metrics["bm25/var/order/ndcg@10"] == metrics["bm25/eff/ndcg@10"] == 1.0
    # BM25 returns no passage that shares no word, and stems: `bolo` and `bolos` are two words to it, too.
    assert (found.scores["var/typo"].queries["bm25/ndcg@10"][lost] == 0).all()
    drop = found.scores["eff"].queries["ndcg@10"] - found.scores["var/typo"].queries["ndcg@10"]
    assert metrics["var/typo/drop/ndcg@10"] == pytest.approx(drop.mean())
    assert metrics["var/typo/drop/ndcg@10/low"] < drop.mean() < metrics["var/typo/drop/ndcg@10/high"]


def test_a_constant_scorer_is_untouched_by_everything(
    collection: Collection, tmp_path: Path, listed: Path
) -> None:
    config = replace(CONFIG, variations=list(VARIATIONS), synonyms=str(listed), bm25=False)
    metrics = measured(Constant(), collection, tmp_path, config).metrics
    for kind in VARIATIONS:
        assert metrics[f"var/{kind}/contrastive_entropy"] == metrics["eff/contrastive_entropy"]
        assert [metrics[f"var/{kind}/drop/ndcg@10{end}"] for end in ("", "/low", "/high")] == [0, 0, 0]
    assert metrics["var/synonyms/changed"] == metrics["var/stopwords/changed"] == 0
    assert metrics["eff/contrastive_entropy"] == pytest.approx(math.log(6))


def test_only_changed_queries_are_asked_and_passages_are_encoded_once(
    collection: Collection, tmp_path: Path
) -> None:
    class Counting(Lexical):
        passages = 0

        def encode(self, collection: Collection, side: Side, rows: np.ndarray) -> np.ndarray:
            self.passages += len(rows) if side == "passages" else 0
            return super().encode(collection, side, rows)

    config = replace(CONFIG, variations=["stopwords", "typo", "case"], shard=7)
    retriever = Counting()
    found = measured(retriever, collection, tmp_path, config)
    assert retriever.passages == collection.counts["passages"]
    assert len(retriever.asked) == 2 * 30
    whole = measured(Lexical(), collection, tmp_path, replace(config, shard=65536))
    assert found.metrics == pytest.approx(whole.metrics)
    save_scores(found.scores, tmp_path / "scores")
    queries, pairs = load_scores(tmp_path / "scores")
    assert set(queries["set"]) == set(pairs["set"]) == {"eff", "var/stopwords", "var/typo", "var/case"}
    own = queries[queries["set"] == "var/typo"]
    assert own["ndcg@10"].mean() == pytest.approx(found.metrics["var/typo/ndcg@10"], rel=1e-6)


def test_candidates_of_the_clean_query_are_ranked_anew(collection: Collection, tmp_path: Path) -> None:
    class ByPair(type(INNER_PRODUCTS)):  # type: ignore[misc]
        by_pair = True

    retriever = Lexical()
    retriever.scores = ByPair()  # type: ignore[assignment]
    config = replace(CONFIG, variations=["typo"], variation_rate=1.0, pair_queries=20, rerank_depth=3)
    found = measured(retriever, collection, tmp_path, config)
    clean, varied = found.scores["eff"], found.scores["var/typo"]
    assert len(varied.queries["ndcg@10"]) == 20
    # The relevant passage is the only one that the clean query finds, so nothing can stand above it.
    assert clean.evaluation_set.candidates is not None
    assert (np.sort(clean.evaluation_set.candidates, axis=1)[:, :-1] == -1).all()
    assert found.metrics["var/typo/ndcg@10"] == 1.0
    assert found.metrics["var/typo/contrastive_entropy_error"] >= 0


def test_the_interval_of_a_mean_is_students() -> None:
    assert intervals.of_mean(np.array([1.0])) is None
    # Two values at a distance of 2: the error is 1, and t of one degree of freedom 12.706.
    assert intervals.of_mean(np.array([0.0, 2.0])) == pytest.approx((1 - 12.7062, 1 + 12.7062), abs=1e-4)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["eval.variations=[typo,typos]"], r"eval.variations=typos is not known; valid: case, order, prefix"),
        (["eval.variations=[typo]", "eval=none"], "eval=none measures nothing, so no eval.variations"),
        (["eval.variations=[synonyms]"], "eval.variations=synonyms needs a list of words; set eval.synonyms"),
        (["eval.variations=[synonyms]", "eval.synonyms=no.json"], "eval.synonyms=no.json: no such file"),
        (["eval.synonyms=no.json"], "eval.synonyms=no.json would not be used: eval.variations lacks"),
        (["eval.variation_rate=0"], "eval.variation_rate=0.0 is out of range"),
        (["eval.probes=[size]"], "eval.probes=size is not known; valid: length, literal, position, repet"),
    ],
)
def test_mistakes_in_the_configuration(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as failure:
        validate(composed(*overrides))
    assert len(str(failure.value).splitlines()) == 1

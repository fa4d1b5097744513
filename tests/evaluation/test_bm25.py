from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from beir.datasets.data_loader import GenericDataLoader
from beir.retrieval.evaluation import EvaluateRetrieval

from retrieval.config import EvalConfig
from retrieval.data.collection import Collection, open_collection
from retrieval.data.testset import build_evaluation_set
from retrieval.search import bm25
from retrieval.search.bm25 import Bm25Index, bm25_index, bm25_metrics

MakeCollection = Callable[..., Collection]

PASSAGES = ["zebra lion lion", "lion tiger", "zebra", "elephant tiger tiger tiger", ""]


def lucene(passages: list[str], query: str) -> list[float]:
    """BM25 by Lucene's formula, for texts without stop words or inflected words."""
    documents = [re.findall(r"\w+", text) for text in passages]
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        counts = Counter(document)
        norm = 0.9 * (1 - 0.4 + 0.4 * len(document) / average)
        total = 0.0
        for word in query.split():
            frequency = sum(word in other for other in documents)
            weight = math.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
            total += weight * counts[word] / (counts[word] + norm)
        scores.append(total)
    return scores


@pytest.mark.parametrize("query", ["lion", "zebra tiger", "lion lion elephant", "unicorn lion"])
def test_scores_equal_the_formula(query: str) -> None:
    assert Bm25Index.build(PASSAGES).scores(query) == pytest.approx(
        lucene(PASSAGES, query), rel=1e-5, abs=1e-7
    )


def test_words_are_stemmed_and_stop_words_dropped() -> None:
    index = Bm25Index.build(["the runner was running", "a zebra"])
    assert index.scores("Runs")[0] > 0
    assert index.scores("the was a").tolist() == [0, 0]


def test_top_k_lists_matching_passages_only_best_first() -> None:
    found = Bm25Index.build(PASSAGES).top_k(["tiger", "the", "zebra"], 3)
    assert found.columns.tolist() == [[3, 1, -1], [-1, -1, -1], [2, 0, -1]]
    assert np.isneginf(found.scores[found.columns < 0]).all()
    assert (np.diff(found.scores[[0, 2], :2]) < 0).all()


def test_top_k_cuts_ties_at_the_earlier_passage() -> None:
    found = Bm25Index.build(["zebra"] * 6 + ["lion"] * 9).top_k(["zebra"], 4)
    assert found.columns.tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("passages", [["", "the of"], ["?"]])
def test_a_corpus_without_words_matches_nothing(passages: list[str]) -> None:
    assert Bm25Index.build(passages).top_k(["zebra"], 2).columns.tolist() == [[-1, -1]]


def test_a_saved_index_gives_the_same_scores_and_holds_no_pickle(
    numbered_collection: MakeCollection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = numbered_collection()
    texts = [text for _, text in collection.passages()]
    queries = ["word7", "common words", "word3 word3 common", "nothing"]
    expected = Bm25Index.build(texts).top_k(queries, 50)
    cache = tmp_path / "cache"
    assert (bm25_index(collection, cache).top_k(queries, 50).scores == expected.scores).all()
    monkeypatch.setattr(Bm25Index, "build", None)
    again = bm25_index(collection, cache).top_k(queries, 50)
    assert (again.columns == expected.columns).all()
    files = [path for path in (cache / "bm25-index").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} <= {".npy", ".json", ".lock"}
    for path in files:
        if path.suffix == ".npy":
            np.load(path, allow_pickle=False)


@pytest.mark.parametrize("pool", [100, None])
def test_metrics_are_those_of_the_candidates_and_are_computed_once(
    numbered_collection: MakeCollection, tmp_path: Path, pool: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = build_evaluation_set(numbered_collection(), "test", EvalConfig(pool=pool))
    measured = bm25_metrics(part, tmp_path)
    assert {name: values.tolist() for name, values in measured.items()} == {
        name: [1.0] * 60 for name in ("ndcg@10", "mrr@10", "recall@100")
    }
    monkeypatch.setattr(bm25, "ranking_metrics", None)
    assert bm25_metrics(part, tmp_path)["mrr@10"].tolist() == [1.0] * 60


@pytest.mark.parametrize(("name", "published"), [("scifact", 0.676), ("cisi", 0.372), ("cacm", 0.479)])
def test_equals_the_known_score_and_beir(shared: Path, tmp_path: Path, name: str, published: float) -> None:
    folder = shared / "collections" / name
    collection = open_collection(folder, tmp_path)
    part = build_evaluation_set(collection, "test", EvalConfig(max_queries=None, pool=None))
    measured = {key: values.mean() for key, values in bm25_metrics(part, tmp_path).items()}
    assert measured["ndcg@10"] == pytest.approx(published, abs=5e-4)

    passage_ids = collection.passage_ids(part.passage_rows)
    found = bm25_index(collection, tmp_path).top_k(part.queries(), 1000)
    results = {
        query: {passage_ids[c]: float(s) for c, s in zip(columns, scores) if c >= 0}
        for query, columns, scores in zip(part.query_ids(), found.columns, found.scores)
    }
    _, _, qrels = GenericDataLoader(str(folder)).load(split="test")
    ndcg, _, recall, _ = EvaluateRetrieval.evaluate(qrels, results, [10, 100], ignore_identical_ids=False)
    assert measured["ndcg@10"] == pytest.approx(ndcg["NDCG@10"], abs=1e-4)
    assert measured["recall@100"] == pytest.approx(recall["Recall@100"], abs=1e-4)

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.config import EvalConfig
from retrieval.data.collection import Collection
from retrieval.data.testset import EvaluationSet
from retrieval.data.tokens import Side
from retrieval.errors import ConfigError, DataError
from retrieval.evaluation.one_set import measure
from retrieval.evaluation.roles import evaluation_split, split_of_dev, split_of_robust_dev, split_of_test
from retrieval.evaluation.suite import SuiteSets, build_sets, evaluate_suite, save_scores
from retrieval.models.scores import INDEX_BYTES, INNER_PRODUCTS
from retrieval.search.ranking import rank, ranking_metrics
from retrieval.search.retriever import Retriever
from tests.evaluation.conftest import load_scores

MakeCollection = Callable[..., Collection]
CONFIG = EvalConfig(max_queries=30, pool=200, negatives=50, draws=3)
RANKING = ("ndcg@10", "mrr@10", "recall@100")
METRICS = ("contrastive_entropy", *RANKING)


class Table(Retriever):
    """Vectors that resemble the truth, each text's the same in every set it is in."""

    scores = INNER_PRODUCTS

    def __init__(self, dimension: int = 16) -> None:
        self.table = np.random.default_rng(1).normal(size=(1000, dimension)).astype(np.float32)
        self.noise = np.random.default_rng(2).normal(size=(1000, dimension)).astype(np.float32)

    def encode(self, collection: Collection, side: Side, rows: np.ndarray) -> np.ndarray:
        return (self.table + self.noise if side == "queries" else self.table)[rows]


class Constant(Table):
    """Vectors that are all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.table[:], self.noise[:] = 1, 0


encoder = Table()


@pytest.fixture
def sets(numbered_collection: MakeCollection) -> SuiteSets:
    collections = {
        name: numbered_collection(passages=300 + size, queries=size, name=name)
        for name, size in {"home": 60, "far": 20, "near": 40}.items()
    }
    return build_sets(collections.pop("home"), collections, CONFIG)


def test_measures_every_set_under_its_keys(sets: SuiteSets, tmp_path: Path) -> None:
    metrics = evaluate_suite(encoder, sets, CONFIG, tmp_path).metrics
    places = ("eff", "ood", "ood/far", "ood/near")
    expected = {f"{place}/{name}" for place in places for name in METRICS}
    expected |= {f"bm25/{place}/{name}" for place in places for name in RANKING}
    expected |= {f"eval/{name}" for name in ("negatives", "draws", "queries", "pool")}
    expected |= {f"eval/{domain}/{name}" for domain in ("far", "near") for name in ("queries", "pool")}
    assert set(metrics) == expected | {INDEX_BYTES}
    assert all(type(value) is float and math.isfinite(value) for value in metrics.values())
    counts = {key: value for key, value in metrics.items() if key.startswith("eval/")}
    assert counts == {
        "eval/negatives": 50,
        "eval/draws": 3,
        "eval/queries": 30,
        "eval/pool": 200,
        "eval/far/queries": 20,
        "eval/far/pool": 200,
        "eval/near/queries": 30,
        "eval/near/pool": 200,
    }
    assert metrics["bm25/ood/ndcg@10"] == 1.0


def test_ood_is_the_unweighted_mean_over_domains(sets: SuiteSets, tmp_path: Path) -> None:
    metrics = evaluate_suite(encoder, sets, CONFIG, tmp_path).metrics
    for name in METRICS:
        far, near = metrics[f"ood/far/{name}"], metrics[f"ood/near/{name}"]
        assert metrics[f"ood/{name}"] == pytest.approx((far + near) / 2)
    assert metrics["ood/far/contrastive_entropy"] != metrics["ood/near/contrastive_entropy"]
    eff = sets.eff
    queries = encoder.encode(eff.collection, "queries", eff.query_rows)
    passages = encoder.encode(eff.collection, "passages", eff.passage_rows)
    direct = ranking_metrics(rank(queries, [passages], eff), eff)
    assert metrics["eff/mrr@10"] == direct["mrr@10"].mean()


def test_is_deterministic_and_tells_encoders_apart(sets: SuiteSets, tmp_path: Path) -> None:
    first = evaluate_suite(encoder, sets, CONFIG, tmp_path).metrics
    assert evaluate_suite(encoder, sets, CONFIG, tmp_path).metrics == first
    constant = evaluate_suite(Constant(), sets, CONFIG, tmp_path).metrics
    assert constant["eff/contrastive_entropy"] == pytest.approx(math.log(51))
    assert constant["eff/contrastive_entropy"] > first["eff/contrastive_entropy"]
    assert constant["bm25/eff/mrr@10"] == first["bm25/eff/mrr@10"]


def test_contrastive_entropy_is_a_mean_over_pairs(make_collection: MakeCollection, tmp_path: Path) -> None:
    collection = make_collection(
        [(f"p{index}", f"text {index}") for index in range(80)],
        [("a", "first"), ("b", "second")],
        {"test": [("a", "p0", 1), ("b", "p1", 1), ("b", "p2", 1), ("b", "p3", 1)]},
    )
    sets = build_sets(collection, {}, CONFIG)
    result = evaluate_suite(encoder, sets, CONFIG, tmp_path)
    scores = result.scores["eff"]
    assert result.metrics["eff/contrastive_entropy"] == pytest.approx(scores.pairs.mean())
    by_query = scores.queries["contrastive_entropy"]
    assert by_query == pytest.approx([scores.pairs[0], scores.pairs[1:].mean()])
    assert by_query.mean() != pytest.approx(scores.pairs.mean())
    assert not any(key.startswith(("ood", "bm25/ood")) for key in result.metrics)


def test_baseline_can_be_left_out(sets: SuiteSets, tmp_path: Path) -> None:
    result = evaluate_suite(encoder, sets, replace(CONFIG, bm25=False), tmp_path / "unused")
    assert not any(key.startswith("bm25") for key in result.metrics)
    assert not (tmp_path / "unused").exists()


def test_the_untrained_encoder_is_a_reference_row(sets: SuiteSets, tmp_path: Path) -> None:
    asked: list[str] = []

    def untrained(part: EvaluationSet) -> dict[str, np.ndarray]:
        asked.append(part.name)
        return measure(Constant(), part, CONFIG).queries

    result = evaluate_suite(encoder, sets, CONFIG, tmp_path, untrained)
    plain = evaluate_suite(encoder, sets, CONFIG, tmp_path).metrics
    own = {key for key in plain if key.startswith(("eff/", "ood/"))}
    assert set(result.metrics) == set(plain) | {f"untrained/{key}" for key in own}
    assert {key: result.metrics[key] for key in plain} == plain
    for place in ("eff", "ood", "ood/far", "ood/near"):
        assert result.metrics[f"untrained/{place}/contrastive_entropy"] == pytest.approx(math.log(51))
    assert asked == ["home", "far", "near"]
    save_scores(result.scores, tmp_path / "scores")
    queries, _ = load_scores(tmp_path / "scores")
    entropies = queries.loc[queries["set"] == "eff", "untrained/contrastive_entropy"]
    assert entropies.to_numpy() == pytest.approx(np.full(30, math.log(51)))


def test_contrastive_entropy_of_a_reference_is_a_mean_over_pairs(
    make_collection: MakeCollection, tmp_path: Path
) -> None:
    collection = make_collection(
        [(f"p{index}", f"text {index}") for index in range(80)],
        [("a", "first"), ("b", "second")],
        {"test": [("a", "p0", 1), ("b", "p1", 1), ("b", "p2", 1), ("b", "p3", 1)]},
    )
    sets = build_sets(collection, {}, CONFIG)
    metrics = evaluate_suite(
        encoder, sets, CONFIG, tmp_path, lambda part: measure(encoder, part, CONFIG).queries
    ).metrics
    for name in METRICS:
        assert metrics[f"untrained/eff/{name}"] == pytest.approx(metrics[f"eff/{name}"])


def test_saved_scores_reproduce_the_metrics(sets: SuiteSets, tmp_path: Path) -> None:
    result = evaluate_suite(encoder, sets, CONFIG, tmp_path / "cache")
    save_scores(result.scores, tmp_path / "scores")
    queries, pairs = load_scores(tmp_path / "scores")
    assert sorted(path.name for path in (tmp_path / "scores").iterdir()) == [
        "pairs.parquet",
        "queries.parquet",
    ]
    assert queries.groupby("set").size().to_dict() == {"eff": 30, "ood/far": 20, "ood/near": 30}
    for place in ("eff", "ood/far", "ood/near"):
        of_set = queries[queries["set"] == place]
        for name in RANKING:
            assert of_set[name].mean() == pytest.approx(result.metrics[f"{place}/{name}"], rel=1e-5)
            assert of_set[f"bm25/{name}"].mean() == pytest.approx(
                result.metrics[f"bm25/{place}/{name}"], rel=1e-5
            )
        entropies = pairs.loc[pairs["set"] == place, "contrastive_entropy"]
        assert entropies.mean() == pytest.approx(result.metrics[f"{place}/contrastive_entropy"], rel=1e-5)
    # Query q7 asks for passage p7 in these collections.
    assert (pairs["query_id"].str[1:] == pairs["passage_id"].str[1:]).all()
    assert queries["query_id"].tolist() == [query for _, part in sets.items() for query in part.query_ids()]


def test_too_many_negatives_are_refused_before_anything_is_encoded(
    numbered_collection: MakeCollection,
) -> None:
    with pytest.raises(ConfigError, match=r"has 199 among the 200 candidates; set eval\.negatives=199"):
        build_sets(numbered_collection(), {}, replace(CONFIG, negatives=200))


@pytest.mark.parametrize(
    ("splits", "test", "dev", "robust_dev"),
    [
        ({"train", "dev", "test"}, "test", "dev", "dev"),
        ({"train", "dev"}, "dev", None, "dev"),
        ({"test"}, "test", None, "test"),
        ({"train"}, None, None, None),
    ],
)
def test_a_role_is_measured_on_its_split(
    splits: set[str], test: str | None, dev: str | None, robust_dev: str | None
) -> None:
    assert (split_of_test(splits), split_of_dev(splits), split_of_robust_dev(splits)) == (
        test,
        dev,
        robust_dev,
    )


def test_evaluates_on_dev_where_there_is_no_test(make_collection: MakeCollection) -> None:
    judged = [("q", "p", 1)]
    passages, queries = [("p", "text")], [("q", "query")]
    assert (
        evaluation_split(make_collection(passages, queries, {"dev": judged, "test": judged}, "a")) == "test"
    )
    assert (
        evaluation_split(make_collection(passages, queries, {"train": judged, "dev": judged}, "b")) == "dev"
    )
    with pytest.raises(DataError, match=r"no split to evaluate on; add qrels/test\.tsv"):
        evaluation_split(make_collection(passages, queries, {"train": judged}, "c"))

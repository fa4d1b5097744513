"""Dev sets: the in-domain dev split and the robust-dev domains, measured as tests are and apart from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.data.collection import Collection, open_collection
from retrieval.data.testset import EvaluationSet, build_evaluation_set
from retrieval.errors import ConfigError, DataError
from retrieval.evaluation.one_set import measure
from retrieval.evaluation.suite import (
    build_sets,
    evaluate_suite,
    save_scores,
)
from tests.evaluation.conftest import load_scores
from tests.evaluation.test_evaluation_suite import CONFIG, METRICS, Constant, encoder

MakeCollection = Callable[..., Collection]
Suite = tuple[Collection, dict[str, Collection], dict[str, Collection]]


@pytest.fixture
def suite(numbered_collection: MakeCollection) -> Suite:
    """In-domain collection, OOD test domains and robust-dev domains; ``tested`` has no dev split."""
    home = numbered_collection(name="home", dev=25)
    ood = {"far": numbered_collection(passages=310, queries=20, name="far", dev=10)}
    robust_dev = {
        "near": numbered_collection(passages=320, queries=15, name="near", dev=40),
        "tested": numbered_collection(passages=330, queries=35, name="tested"),
    }
    return home, ood, robust_dev


def measured(suite: Suite, cache: Path) -> dict[str, float]:
    home, ood, robust_dev = suite
    return evaluate_suite(encoder, build_sets(home, ood, CONFIG, robust_dev), CONFIG, cache).metrics


def test_dev_metrics_are_those_of_the_dev_splits(suite: Suite, tmp_path: Path) -> None:
    home, _, robust_dev = suite
    metrics = measured(suite, tmp_path)
    splits = {
        "dev/eff": (home, "dev", 25),
        "dev/ood/near": (robust_dev["near"], "dev", 30),
        "dev/ood/tested": (robust_dev["tested"], "test", 30),
    }
    for prefix, (collection, split, queries) in splits.items():
        found = measure(encoder, build_evaluation_set(collection, split, CONFIG), CONFIG)
        assert metrics[f"{prefix}/contrastive_entropy"] == found.pairs.mean()
        for name in METRICS[1:]:
            assert metrics[f"{prefix}/{name}"] == found.queries[name].mean()
        assert metrics[f"eval/{prefix}/queries"] == queries
        assert metrics[f"eval/{prefix}/pool"] == CONFIG.pool
    for name in METRICS:
        both = [metrics[f"dev/ood/{domain}/{name}"] for domain in robust_dev]
        assert metrics[f"dev/ood/{name}"] == pytest.approx(np.mean(both))
    assert metrics["dev/eff/contrastive_entropy"] != metrics["eff/contrastive_entropy"]


def test_dev_sets_stand_beside_the_tests(suite: Suite, tmp_path: Path) -> None:
    home, ood, _ = suite
    metrics = measured(suite, tmp_path)
    alone = measured((home, ood, {}), tmp_path)
    tests = {key: value for key, value in metrics.items() if "dev/" not in key}
    assert tests == {key: value for key, value in alone.items() if "dev/" not in key}
    assert set(alone) - set(tests) == {
        *(f"dev/eff/{name}" for name in METRICS),
        *(f"eval/dev/eff/{name}" for name in ("queries", "pool")),
    }
    assert metrics["ood/contrastive_entropy"] == metrics["ood/far/contrastive_entropy"]


def test_dev_sets_have_no_reference_rows(suite: Suite, tmp_path: Path) -> None:
    home, ood, robust_dev = suite
    asked: list[tuple[str, str]] = []

    def untrained(part: EvaluationSet) -> dict[str, np.ndarray]:
        asked.append((part.name, part.split))
        return measure(Constant(), part, CONFIG).queries

    sets = build_sets(home, ood, CONFIG, robust_dev)
    assert [name for name, _ in sets.tests()] == ["eff", "ood/far"]
    result = evaluate_suite(encoder, sets, CONFIG, tmp_path, untrained)
    assert asked == [("home", "test"), ("far", "test")]
    assert not [key for key in result.metrics if key.startswith(("bm25/dev", "untrained/dev"))]
    save_scores(result.scores, tmp_path / "scores")
    queries, pairs = load_scores(tmp_path / "scores")
    sizes = {"eff": 30, "ood/far": 20, "dev/eff": 25, "dev/ood/near": 30, "dev/ood/tested": 30}
    for table in (queries, pairs):
        assert table.groupby("set").size().to_dict() == sizes
    dev = queries["set"].str.startswith("dev/")
    for column in ("bm25/ndcg@10", "untrained/ndcg@10"):
        assert queries[column].isna().equals(dev)
    of_set = pairs.loc[pairs["set"] == "dev/eff", "contrastive_entropy"]
    assert of_set.mean() == pytest.approx(result.metrics["dev/eff/contrastive_entropy"], rel=1e-5)


def test_poisoned_test_judgements_change_no_dev_metric(suite: Suite, tmp_path: Path) -> None:
    home, ood, robust_dev = suite
    before = measured(suite, tmp_path / "cache")

    def poisoned(collection: Collection) -> Collection:
        path = collection.folder / "qrels" / "test.tsv"
        header, *rows = path.read_text().splitlines()
        queries, passages = zip(*(row.split("\t")[:2] for row in rows), strict=True)
        swapped = (
            f"{query}\t{passage}\t1" for query, passage in zip(queries, reversed(passages), strict=True)
        )
        path.write_text("\n".join([header, *swapped]) + "\n")
        return open_collection(collection.folder, tmp_path / "cache", collection.name)

    # The test split of "tested" is its dev set.
    changed = {"near": poisoned(robust_dev["near"]), "tested": robust_dev["tested"]}
    after = measured(
        (poisoned(home), {name: poisoned(part) for name, part in ood.items()}, changed), tmp_path / "cache"
    )
    dev = [key for key in before if key.startswith("dev/")]
    assert len(dev) == 4 * len(METRICS)
    assert {key: after[key] for key in dev} == {key: before[key] for key in dev}
    for key in ("eff/contrastive_entropy", "ood/contrastive_entropy"):
        assert after[key] != before[key]


def test_a_dev_split_that_serves_as_test_is_no_dev_set(numbered_collection: MakeCollection) -> None:
    plain = numbered_collection(name="plain")
    assert build_sets(plain, {}, CONFIG).dev == {}
    only_dev = numbered_collection(name="only-dev", queries=0, dev=30)
    assert build_sets(only_dev, {}, CONFIG).dev == {}
    assert build_sets(only_dev, {}, CONFIG).eff.split == "dev"


def test_training_can_measure_fewer_queries(suite: Suite) -> None:
    home, _, robust_dev = suite
    small = replace(CONFIG, max_queries=5, pool=100)
    whole, reduced = (build_sets(home, {}, config, robust_dev).dev for config in (CONFIG, small))
    assert list(reduced) == list(whole) == ["eff", "ood/near", "ood/tested"]
    for name, part in reduced.items():
        assert set(part.query_ids()) < set(whole[name].query_ids())
        assert (len(part.query_rows), len(part.passage_rows)) == (5, 100)


def test_dev_sets_are_checked_as_tests_are(numbered_collection: MakeCollection, tmp_path: Path) -> None:
    home, few = (
        numbered_collection(name="home"),
        numbered_collection(passages=40, queries=5, name="few", dev=5),
    )
    with pytest.raises(ConfigError, match=r"few: contrastive entropy needs 50 .* set eval\.negatives=39"):
        build_sets(home, {}, CONFIG, {"few": few})
    (few.folder / "qrels" / "test.tsv").rename(few.folder / "qrels" / "train.tsv")
    (few.folder / "qrels" / "dev.tsv").unlink()
    with pytest.raises(DataError, match=r"few: no split to evaluate on; add qrels/test\.tsv"):
        build_sets(home, {}, CONFIG, {"few": open_collection(few.folder, tmp_path / "again")})

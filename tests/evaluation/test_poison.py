"""Corpus poisoning: on a model whose best passage is known, and what the attacker may see."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.config import Config, EvalConfig
from retrieval.data.testset import EvaluationSet, build_evaluation_set
from retrieval.errors import ConfigError, DataError
from retrieval.evaluation.adversarial.evaluation import AttackEvaluation
from retrieval.evaluation.adversarial.records import Inserted, load_attacked, save_attacked
from retrieval.evaluation.attacks.poison import PoisonConfig, PoisonOptions
from retrieval.evaluation.measuring import Collections, measure_all
from retrieval.evaluation.poisoning.clusters import clusters
from retrieval.evaluation.poisoning.hotflip import HotFlip
from retrieval.evaluation.poisoning.queries import seen_queries
from retrieval.evaluation.suite import Measured
from tests.evaluation.bag_of_words import BagOfWords
from tests.evaluation.conftest import MakeCollection

EVALUATION = EvalConfig(negatives=8, draws=2, pool=None, max_queries=None)
WORDS = {
    "cat": (1, 0, 0, 0),
    "dog": (0, 1, 0, 0),
    "lure": (3, 0, 0, 0),
    "bait": (0, 2, 0, 0),
    "dull": (-1, -1, 0, 0),
    "stone": (0, 0, 1, 0),
    "moss": (0, 0, 0, 1),
}


@pytest.fixture
def part(make_collection: MakeCollection) -> EvaluationSet:
    """Four queries of two topics are the test, six others are for the attacker."""
    passages = [
        (f"p{n}", text) for n, text in enumerate(["cat cat", "dog dog", *["stone"] * 10, *["moss"] * 8])
    ]
    queries = [("q0", "cat"), ("q1", "cat stone"), ("q2", "dog"), ("q3", "dog moss")]
    seen = [
        ("s0", "cat moss"),
        ("s1", "cat cat"),
        ("s2", "Cat"),
        ("s3", "cat  STONE"),
        ("s4", "dog stone"),
        ("s5", "dog dog"),
    ]
    relevant = {"q0": "p0", "q1": "p0", "q2": "p1", "q3": "p1"}
    collection = make_collection(
        passages,
        [*queries, *seen],
        {
            "test": [(query, passage, 1) for query, passage in relevant.items()],
            # A test query is judged in the training split, too.
            "train": [(query, "p0", 1) for query, _ in seen] + [("q1", "p0", 1)],
        },
    )
    return build_evaluation_set(collection, "test", EVALUATION)


def config(**changes: Any) -> PoisonConfig:
    options = {"passages": 2, "tokens": 3, "iterations": 6, "candidates": 2, **changes}
    return PoisonConfig(name="poison", poison=PoisonOptions(**options))


def attack(model: BagOfWords, part: EvaluationSet, of: Any) -> Measured:
    evaluation = AttackEvaluation.load(of)
    assert evaluation is not None
    encoded = (
        model.encode(part.collection, "queries", part.query_rows),
        model.encode(part.collection, "passages", part.passage_rows),
    )
    return evaluation.run(model, part, encoded, EVALUATION, progress=False)


def test_the_best_passages_are_found_and_their_ranks_are_those_by_hand(part: EvaluationSet) -> None:
    found = attack(BagOfWords(WORDS), part, config())
    assert found.attacked is not None
    # A word can be chosen for each place by itself, so the best passage repeats the best word of a cluster:
    # of the queries s0 and s1 (s2 and s3 are test queries in other letters) and of s4 and s5.
    assert sorted(entry.new_text for entry in found.attacked) == ["bait bait bait", "lure lure lure"]
    metrics = found.metrics
    # They score 9 or 6 with one topic, where a passage of the corpus has 2 at most, and 0 with the other.
    assert metrics["adv/poison/top1_rate"] == metrics["adv/poison/top10_rate"] == 1.0
    assert metrics["adv/poison/curve/top1_rate@0"] == 0.0
    assert metrics["adv/poison/curve/top1_rate@1"] == 0.5
    # A passage that scores nothing stands behind all others that do, or tie: q0 ranks p0 alone above 0.
    assert metrics["adv/poison/curve/top10_rate@1"] == 0.5
    assert metrics["adv/poison/auc"] == pytest.approx((0 / 2 + 0.5 + 1 / 2) / 2)
    assert metrics["adv/poison/seen_queries"] == 4
    assert metrics["adv/poison/attacked_queries"] == 4
    assert metrics["adv/poison/mrr@10"] == 0.5  # the relevant passage stands second everywhere
    # Six gradients of each passage, as many lists of itself and two words, and the four queries.
    assert metrics["adv/poison/queries"] == metrics["cost/attack_queries"] == 2 * 6 * (1 + 3) + 4
    assert metrics["adv/poison/curve/queries@0"] == 4
    assert metrics["adv/poison/curve/queries@2"] == metrics["adv/poison/queries"]
    assert found.attack_passes["poison"][0] == metrics["adv/poison/queries"] + 2 * 6


def test_test_queries_never_reach_the_attacker(part: EvaluationSet) -> None:
    model = BagOfWords(WORDS)
    attack(model, part, config())
    # Those in other letters and those of both splits are test queries, too.
    assert sorted(model.queries) == ["cat cat", "cat moss", "dog dog", "dog stone"]
    tested = {"".join(text.lower().split()) for text in part.queries()}
    assert not tested & {"".join(text.lower().split()) for text in model.queries}


def test_seen_queries_are_nested_and_of_the_named_split(part: EvaluationSet) -> None:
    some = [set(seen_queries(part, "train", count, 1).tolist()) for count in (1, 2, 9)]
    assert some[0] < some[1] < some[2]
    assert len(some[2]) == 4
    assert set(seen_queries(part, "auto", 9, 1).tolist()) == some[2]
    with pytest.raises(
        ConfigError, match=r"attack\.poison\.split=dev: collection has no queries for the attacker"
    ):
        seen_queries(part, "dev", 9, 1)
    turned = dataclasses.replace(part, split="train")
    with pytest.raises(ConfigError, match="of which train is the test"):
        seen_queries(turned, "auto", 9, 1)


def test_a_collection_without_seen_queries_is_refused_before_anything_is_encoded(
    make_collection: MakeCollection,
) -> None:
    passages = [(f"p{n}", "stone") for n in range(20)]
    only = make_collection(passages, [("q0", "cat")], {"test": [("q0", "p0", 1)]})
    evaluation = AttackEvaluation.load(config())
    whole = Config(eval=EVALUATION, attack=config())
    # The retriever is None: using it in any way would raise something else.
    with pytest.raises(ConfigError, match=r"name the other attacks: attack=\[wsra,typo,paragraph\]"):
        measure_all(None, Collections(only, {}, {}), whole, evaluation, None)  # type: ignore[arg-type]


def test_a_replay_measures_the_same_bits_without_asking(part: EvaluationSet, tmp_path: Path) -> None:
    found = attack(BagOfWords(WORDS), part, config())
    assert found.attacked is not None
    path = tmp_path / "attack.jsonl"
    save_attacked(found.attacked, path)
    assert load_attacked(path) == found.attacked
    again = attack(BagOfWords(WORDS), part, PoisonConfig(name="none", replay=str(path)))
    assert again.attacked == found.attacked
    costs = {key for key in found.metrics if "queries@" in key or key.startswith("cost/")}
    costs.add("adv/poison/queries")
    assert {key: value for key, value in again.metrics.items() if key not in costs} == {
        key: value for key, value in found.metrics.items() if key not in costs
    }
    assert again.metrics["adv/poison/queries"] == again.metrics["cost/attack_queries"] == 0
    assert np.array_equal(again.scores["adv/poison"].pairs, found.scores["adv/poison"].pairs)


def test_judgements_and_rows_stay_as_they_are(part: EvaluationSet) -> None:
    arrays = [part.query_rows, part.passage_rows, part.columns, part.grades, part.indptr]
    copies = [array.copy() for array in arrays]
    attack(BagOfWords(WORDS), part, config())
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))


@given(
    length=st.integers(1, 5),
    iterations=st.integers(1, 6),
    candidates=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_no_passage_exceeds_its_budget_or_gets_worse(
    length: int, iterations: int, candidates: int, seed: int
) -> None:
    model = BagOfWords(WORDS)
    aims = [np.array([[1, 0, 0, 0], [1, 0, 1, 0]], np.float32), np.array([[0, -1, 0, 2]], np.float32)]
    search = HotFlip(model, candidates, batch=2)
    passages = search.start(aims, length, seed)
    before = [model.encode_texts([own.text], "passages")[0] @ own.aim[0] for own in passages]
    search.run(passages, iterations, progress=False)
    for own, score in zip(passages, before, strict=True):
        assert len(own.text.split()) == length
        assert set(own.words) <= set(WORDS)
        assert model.encode_texts([own.text], "passages")[0] @ own.aim[0] >= score
        assert own.asked <= iterations * (2 + candidates)
        assert own.gradients == iterations


def test_clusters_are_those_that_were_planted() -> None:
    random = np.random.default_rng(4)
    centres = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
    owners = np.repeat([0, 1, 2], [5, 9, 7])
    points = centres[owners] + random.uniform(-1, 1, (21, 2)).astype(np.float32)
    for seed in range(5):
        found = clusters(points, 3, seed)
        assert [own.tolist() for own in found] == [np.flatnonzero(owners == n).tolist() for n in (1, 2, 0)]
    assert [len(own) for own in clusters(np.ones((4, 2), np.float32), 3, 1)] == [4]
    assert sorted(np.concatenate(clusters(points, 30, 1)).tolist()) == list(range(21))


def test_a_malformed_inserted_passage_is_named(tmp_path: Path) -> None:
    entry = Inserted("poison", "poison-1", "a b", "c d", 3, 10)
    path = tmp_path / "attack.jsonl"
    save_attacked([entry, dataclasses.replace(entry, passage_id="poison-2")], path)
    text = path.read_text()
    for old, new, message in (
        ("poison-2", "poison-1", "passage 'poison-1' stands in line 1"),
        ('"new_text": "c d", ', "", r":1: 'new_text' is missing"),
        ('"attack": "poison"', '"attack": "a/b"', r":1: not an attacked passage \(attack: 'a/b' is no name"),
    ):
        path.write_text(text.replace(old, new))
        with pytest.raises(DataError, match=message):
            load_attacked(path)

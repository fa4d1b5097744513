"""The attack as a whole, on a tiny random encoder."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.config import EvalConfig
from retrieval.data.testset import take_queries
from retrieval.errors import ConfigError, DataError
from retrieval.evaluation.adversarial.adversarial_set import Target, choose_queries
from retrieval.evaluation.adversarial.evaluation import AttackEvaluation
from retrieval.evaluation.adversarial.measure import AttackedPool, measured, ranks_of, target_scores
from retrieval.evaluation.adversarial.records import Attacked, Edit, load_attacked, save_attacked
from retrieval.evaluation.contrastive_entropy import contrastive_entropy
from retrieval.evaluation.substitution import greedy
from retrieval.evaluation.suite import Measured
from retrieval.models.scores import INNER_PRODUCTS
from retrieval.search.ranking import rank, ranking_metrics
from tests.evaluation.attack_setup import EVALUATION, PASSAGE_LENGTH, SYNONYMS, Setup, make_setup
from tests.rounding import entropy_bound, product_bound, ranks_within


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return make_setup(tmp_path_factory.mktemp("attack") / "collection")


@pytest.fixture(scope="session")
def outcome(setup: Setup) -> Measured:
    return setup.attack()


def without_cost(outcome: Measured) -> dict[str, float]:
    return {k: v for k, v in outcome.metrics.items() if not k.startswith("cost/") and k != "adv/queries"}


def replay(setup: Setup, path: Path, **changes: Any) -> Measured:
    return setup.attack(name="none", replay=str(path), **changes)


def test_passages_really_rise_when_everything_is_encoded_anew(setup: Setup, outcome: Measured) -> None:
    ids = setup.part.passage_ids(np.arange(len(setup.part.passage_rows)))
    queries = dict(zip(setup.part.query_ids(), setup.query_vectors, strict=True))
    pool = setup.model.encode_texts(list(setup.part.passages()), "passages")
    assert outcome.metrics["adv/success_rate"] > 0.5
    for entry in outcome.attacked:
        others = np.delete(pool, ids.index(entry.passage_id), axis=0) @ queries[entry.query_id]
        texts = [entry.old_text, entry.new_text]
        old, new = setup.model.encode_texts(texts, "passages") @ queries[entry.query_id]
        assert entry.rank_after in ranks_within(others, new, setup.score_bound)
        assert entry.rank_before in ranks_within(others, old, setup.score_bound)
        assert (entry.rank_after < entry.rank_before) == bool(entry.words)


def test_summary_is_that_of_the_passages(outcome: Measured) -> None:
    before = np.array([entry.rank_before for entry in outcome.attacked])
    after = np.array([entry.rank_after for entry in outcome.attacked])
    changed = np.array([len(entry.words) for entry in outcome.attacked])
    metrics = outcome.metrics
    assert metrics["adv/success_rate"] == (after < before).mean()
    assert metrics["adv/rank_boost"] == (before - after).mean()
    assert metrics["adv/top10_rate"] == (after <= 10).mean()
    assert metrics["adv/words_changed"] == changed.mean()
    assert metrics["adv/similarity"] == pytest.approx(np.mean([e.similarity for e in outcome.attacked]))
    assert metrics["adv/targets"] == len(outcome.attacked) == 12
    assert metrics["adv/attacked_queries"] == 4
    assert metrics["adv/queries"] == metrics["cost/attack_queries"] > 12


def test_only_the_listed_words_change_and_never_more_than_m(setup: Setup, outcome: Measured) -> None:
    assert max(len(entry.words) for entry in outcome.attacked) == setup.config().words
    for entry in outcome.attacked:
        old, new = entry.old_text.split(" "), entry.new_text.split(" ")
        places = [entry.old_text[: word.start].count(" ") for word in entry.words]
        changed = [index for index, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
        assert changed == places
        for word, place in zip(entry.words, places, strict=True):
            assert (old[place], new[place]) == (word.old, word.new)
            assert word.new in SYNONYMS[word.old]


def test_targets_stand_in_their_blocks_and_are_never_relevant(setup: Setup, outcome: Measured) -> None:
    relevant = {(q, p) for q in range(8) for p in range(150) if (p * 7 + q) % 5 == 0}
    for number, entry in enumerate(outcome.attacked):
        block = number % 3
        assert 21 + 10 * block <= entry.rank_before <= 30 + 10 * block
        assert (int(entry.query_id[1:]), int(entry.passage_id[1:])) not in relevant


def test_judgements_and_vectors_of_the_set_stay_as_they_are(setup: Setup) -> None:
    arrays = [getattr(setup.part, name) for name in ("query_rows", "passage_rows", "columns", "grades")]
    arrays += [setup.query_vectors, setup.passage_vectors]
    weights = [parameter.detach().clone() for parameter in setup.encoder.parameters()]
    copies = [array.copy() for array in arrays]
    setup.attack(queries=2)
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))
    assert all(bool((a == b).all()) for a, b in zip(setup.encoder.parameters(), weights, strict=True))
    assert all(parameter.grad is None for parameter in setup.encoder.parameters())


def test_the_same_configuration_gives_the_same_passages(setup: Setup, outcome: Measured) -> None:
    again = setup.attack()
    assert again.attacked == outcome.attacked
    assert without_cost(again) == without_cost(outcome)
    assert again.metrics["cost/attack_queries"] == outcome.metrics["cost/attack_queries"]
    assert setup.attack(seed=2).attacked != outcome.attacked


def test_together_or_one_by_one_is_the_same(
    setup: Setup, outcome: Measured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(greedy, "_TEXTS_AT_ONCE", 1)
    alone = setup.attack()
    assert [entry.new_text for entry in alone.attacked] == [entry.new_text for entry in outcome.attacked]
    assert alone.metrics["adv/queries"] == outcome.metrics["adv/queries"]


def test_fewer_queries_are_a_subset(setup: Setup, outcome: Measured) -> None:
    fewer = setup.attack(queries=2).attacked
    whole = {(e.query_id, e.passage_id): e.new_text for e in outcome.attacked}
    assert {(e.query_id, e.passage_id): e.new_text for e in fewer}.items() <= whole.items()


def test_replay_repeats_every_bit_without_asking_the_model(
    setup: Setup, outcome: Measured, tmp_path: Path
) -> None:
    # The way to a text is the search's own; a replay has the text alone.
    reached = [replace(entry, trace=None) for entry in outcome.attacked]
    save_attacked(reached, tmp_path / "attack.jsonl")
    again = replay(setup, tmp_path)
    assert again.attacked == reached
    searched = ("adv/curve/", "adv/wsra/random/", "adv/auc", "adv/wsra/auc")
    way = {key for key in outcome.metrics if key.startswith(searched)}
    assert without_cost(again) == {k: v for k, v in without_cost(outcome).items() if k not in way}
    assert again.metrics["cost/attack_queries"] == 0
    for prefix in ("adv", "adv/clean"):
        assert np.array_equal(again.scores[prefix].pairs, outcome.scores[prefix].pairs)
    save_attacked(again.attacked, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "attack.jsonl").read_bytes()


def test_replay_on_another_model_keeps_texts_and_measures_anew(
    setup: Setup, outcome: Measured, tmp_path: Path
) -> None:
    save_attacked(outcome.attacked, tmp_path / "attack.jsonl")
    turned = dataclasses.replace(setup, query_vectors=-setup.query_vectors)
    again = replay(turned, tmp_path / "attack.jsonl")
    assert [e.new_text for e in again.attacked] == [e.new_text for e in outcome.attacked]
    # What rises for a query sinks for its opposite.
    assert again.metrics["adv/success_rate"] == 0
    assert again.metrics["adv/rank_boost"] < 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query_id": "q99"}, "query 'q99' is not among the test queries; use the data and eval settings"),
        ({"passage_id": "p999"}, "passage 'p999' is not in the pool"),
        ({"old_text": "other", "new_text": "other", "words": ()}, "has another text here"),
        ("relevant", "is relevant to query"),
    ],
)
def test_replay_refuses_passages_of_another_collection(
    setup: Setup, outcome: Measured, tmp_path: Path, change: Any, message: str
) -> None:
    entry = outcome.attacked[0]
    if change == "relevant":
        column = int(setup.part.columns[setup.part.indptr[int(entry.query_id[1:])]])
        text = setup.part.collection.passage_texts(np.array([column]))[0]
        change = {"passage_id": f"p{column}", "old_text": text, "new_text": text, "words": ()}
    save_attacked([dataclasses.replace(entry, **change)], tmp_path / "attack.jsonl")
    with pytest.raises(DataError, match=message) as failure:
        replay(setup, tmp_path)
    assert "\n" not in str(failure.value)


def test_similarity_constraint_holds(setup: Setup, outcome: Measured) -> None:
    least = float(np.median([entry.similarity for entry in outcome.attacked]))
    bound = setup.attack(similarity=least).attacked
    assert min(entry.similarity for entry in bound) >= least - 1e-6
    assert bound != outcome.attacked
    for entry in bound:
        old, new = setup.model.encode_texts([entry.old_text, entry.new_text], "passages")
        cosine = old @ new / np.linalg.norm(old) / np.linalg.norm(new)
        assert float(cosine) == pytest.approx(entry.similarity, abs=1e-5)


def test_other_rules_orders_and_sources(setup: Setup, outcome: Measured) -> None:
    base = outcome.metrics
    by_score = setup.attack(accept="score").metrics
    assert by_score["adv/words_changed"] >= base["adv/words_changed"]
    assert setup.attack(importance="random").attacked != outcome.attacked
    few = setup.attack(tries=1)
    assert max(len(entry.words) for entry in few.attacked) == 1
    assert few.metrics["adv/queries"] <= 12 + 12 * 3
    neighbours = setup.attack(synonyms="embedding", min_cosine=-1.0, candidates=3)
    assert neighbours.metrics["adv/success_rate"] > 0.5
    assert setup.attack(synonyms="embedding", min_cosine=0.99).metrics["adv/words_changed"] == 0


def test_words_beyond_the_passage_length_are_never_touched(setup: Setup) -> None:
    for entry in setup.attack(words=40).attacked:
        # Every made-up word is one token, two tokens are special.
        assert all(entry.old_text[: w.start].count(" ") < PASSAGE_LENGTH - 2 for w in entry.words)


def test_ranks_beyond_the_pool_are_refused(setup: Setup) -> None:
    with pytest.raises(ConfigError, match="nothing irrelevant at ranks 151 to 160 of 150 candidates"):
        setup.attack(first_rank=151, last_rank=160)


def test_metrics_are_those_of_pools_with_the_attacked_texts(setup: Setup, outcome: Measured) -> None:
    """Each query on its own, with a pool in which its targets' vectors are replaced."""
    for prefix, new in (("adv/clean", False), ("adv", True)):
        found = outcome.scores[prefix]
        for number, query in enumerate(found.evaluation_set.query_ids()):
            position = np.array([int(query[1:])])
            part, pool = take_queries(setup.part, position), setup.passage_vectors.copy()
            own = [entry for entry in outcome.attacked if entry.query_id == query]
            for entry in own:
                text = entry.new_text if new else entry.old_text
                pool[int(entry.passage_id[1:])] = setup.model.encode_texts([text], "passages")[0]
            expected = ranking_metrics(rank(setup.query_vectors[position], [pool], part), part)
            for name, values in expected.items():
                assert found.queries[name][number] == pytest.approx(values[0], abs=1e-9)
    pairs, clean = outcome.scores["adv"].pairs, outcome.scores["adv/clean"].pairs
    assert outcome.metrics["adv/contrastive_entropy"] == pairs.mean()
    assert (pairs >= clean - 1e-6).all()
    assert pairs.mean() > clean.mean()


def test_contrastive_entropy_counts_the_targets_among_w_negatives(setup: Setup) -> None:
    part = take_queries(setup.part, np.array([0, 3]))
    queries, pool = setup.query_vectors[[0, 3]], setup.passage_vectors
    irrelevant = np.setdiff1d(np.arange(150), part.columns)
    targets = [Target(0, int(irrelevant[4])), Target(0, int(irrelevant[9])), Target(1, int(irrelevant[2]))]
    nothing = np.zeros((3,), dtype=np.float32)
    zero = AttackedPool(part, queries * 0, pool, INNER_PRODUCTS, targets)
    (constant,) = measured(zero, [nothing], EVALUATION)
    assert constant.pairs == pytest.approx(np.log(41))
    # All irrelevant candidates as negatives: nothing is left to chance.
    least = int(min(150 - np.diff(part.indptr)))
    assert (150 - np.diff(part.indptr) == least).all()
    whole = EvalConfig(negatives=least, draws=1, pool=None)
    attacked = AttackedPool(part, queries, pool, INNER_PRODUCTS, targets)
    scores = target_scores(attacked, pool[[target.column for target in targets]])
    (same,) = measured(attacked, [scores], whole)
    expected = contrastive_entropy(queries, pool, part, negatives=least, draws=1, seed=1)
    bound = 2 * entropy_bound(queries, pool)
    assert (np.abs(same.pairs - expected) <= bound[part.pair_queries()]).all()


def test_ranks_are_counted_over_the_whole_pool(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    part = take_queries(setup.part, np.array([1, 5]))
    part.identical[1] = 17
    queries, pool = setup.query_vectors[[1, 5]], setup.passage_vectors
    targets = [Target(0, 3), Target(0, 149), Target(1, 18)]
    attacked = AttackedPool(part, queries, pool, INNER_PRODUCTS, targets)
    scores = target_scores(attacked, pool[[3, 149, 18]])
    bound = product_bound(queries, pool).max(axis=1)
    expected = []
    for target, score in zip(targets, scores, strict=True):
        left_out = [target.column, 17] if target.query == 1 else [target.column]
        others = np.delete(pool, left_out, axis=0) @ queries[target.query]
        expected.append(ranks_within(others, score, 2 * bound[target.query]))
    best = np.full(3, 1e9, dtype=np.float32)
    for elements in (8_000_000, 21):
        monkeypatch.setattr("retrieval.evaluation.adversarial.measure._BLOCK_ELEMENTS", elements)
        found, first = ranks_of(attacked, [scores, best])
        assert all(rank in ranks for rank, ranks in zip(found.tolist(), expected, strict=True))
        assert first.tolist() == [1, 1, 1]


def test_queries_are_nested_and_seeded(setup: Setup) -> None:
    some = [set(choose_queries(setup.part, count, 1).tolist()) for count in (1, 3, 8, 20)]
    assert some[0] < some[1] < some[2] == some[3] == set(range(8))
    assert any(set(choose_queries(setup.part, 3, seed).tolist()) != some[1] for seed in range(2, 6))


def test_an_entry_survives_its_file(tmp_path: Path) -> None:
    text = 'A "film", \u2028 über\tπ'
    entry = Attacked("q", "p", 60, 7, 0.1 + 0.2, (Edit(3, "film", "movie"),), text, "")
    entry = dataclasses.replace(entry, new_text=text.replace("film", "movie"))
    save_attacked([entry], tmp_path / "attack.jsonl")
    assert load_attacked(tmp_path / "attack.jsonl") == [entry]


def test_no_attack_is_no_attack(setup: Setup) -> None:
    assert AttackEvaluation.load(setup.config(name="none", replay=None)) is None

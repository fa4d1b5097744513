"""Typing errors and sentences as attacks: their budgets, their texts, their controls and their replays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.config import AttackConfig
from retrieval.evaluation.adversarial.records import Attacked, edited, load_attacked, save_attacked
from retrieval.evaluation.attacks.typo import TypoConfig, TypoOptions
from retrieval.evaluation.stitching.options import ParagraphConfig, ParagraphOptions
from retrieval.evaluation.stitching.pieces import content_words, pieces_for, places, sentences
from retrieval.evaluation.stitching.search import PieceClimb, edits_of, stitched
from retrieval.evaluation.substitution.greedy import Greedy, Start
from retrieval.evaluation.substitution.search import Rules, WordClimb
from retrieval.evaluation.substitution.words import Words
from retrieval.evaluation.suite import Measured
from retrieval.evaluation.variations.typo import character_edits
from tests.evaluation.attack_setup import COMMON, Setup, make_setup
from tests.evaluation.attack_setup import WORDS as SHORT
from tests.evaluation.bag_of_words import BagOfWords

TYPO = TypoConfig(
    name="typo", typo=TypoOptions(characters=3, tries=6, candidates=4, accept="score"), **COMMON
)
PARAGRAPH = ParagraphConfig(
    name="paragraph",
    paragraph=ParagraphOptions(sentences=2, words=12, candidates=3, position="any"),
    **COMMON,
)
STUFFING = ParagraphConfig(
    name="paragraph", paragraph=ParagraphOptions(unit="word", sentences=2, accept="score"), **COMMON
)
WORDS = ["query", "echo", "stone", "moss", "river", "plain"]


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    # Words of three letters get no typing error.
    return make_setup(tmp_path_factory.mktemp("attack") / "collection", [f"{word}o" for word in SHORT])


def entries(found: Measured) -> list[Attacked]:
    assert found.attacked is not None
    return [entry for entry in found.attacked if isinstance(entry, Attacked)]


def curve(metrics: dict[str, float], name: str, measure: str) -> list[float]:
    found = [key for key in metrics if key.startswith(f"adv/{name}/curve/{measure}@")]
    return [metrics[f"adv/{name}/curve/{measure}@{m}"] for m in range(len(found))]


def test_an_attack_with_typing_errors(setup: Setup) -> None:
    found = setup.attacked(TYPO)
    assert found.metrics["adv/typo/success_rate"] > 0.5
    for entry in entries(found):
        assert entry.attack == "typo"
        assert len(entry.words) <= 3
        for edit in entry.words:
            assert edit.new in {text for texts in character_edits(edit.old).values() for text in texts}


def test_an_attack_with_sentences(setup: Setup) -> None:
    found = setup.attacked(PARAGRAPH)
    assert found.metrics["adv/paragraph/success_rate"] > 0.5
    for entry in entries(found):
        assert all(edit.old == "" for edit in entry.words)
        assert sum(len(edit.new.split()) for edit in entry.words) <= 12
        assert len(entry.new_text.split()) - len(entry.old_text.split()) <= 12


def test_an_attack_with_single_words_of_the_query(setup: Setup) -> None:
    found = setup.attacked(STUFFING)
    queries = dict(zip(setup.part.query_ids(), setup.part.queries(), strict=True))
    put_in = 0
    for entry in entries(found):
        new = [word for edit in entry.words for word in edit.new.split()]
        put_in += len(new)
        assert len(new) <= 2
        assert set(new) <= set(content_words(queries[entry.query_id])) - set(content_words(entry.old_text))
    assert put_in
    # A rank improves with each word or not at all, so a longer budget does not do less.
    rates = curve(found.metrics, "paragraph", "rank_boost")
    assert len(rates) == 3
    assert rates == sorted(rates)


@pytest.mark.parametrize(("config", "budget"), [(TYPO, 3), (PARAGRAPH, 2), (STUFFING, 2)])
def test_curves_end_at_the_result_and_everything_has_the_name_of_the_attack(
    setup: Setup, config: AttackConfig, budget: int
) -> None:
    name = str(config.name)
    metrics = setup.attacked(config).metrics
    for measure in ("top10_rate", "success_rate", "rank_boost", "queries"):
        found = curve(metrics, name, measure)
        assert len(found) == budget + 1
        assert found[-1] == metrics[f"adv/{name}/{measure}"]
    rates = curve(metrics, name, "top10_rate")
    assert metrics[f"adv/{name}/auc"] == pytest.approx(np.trapezoid(rates) / budget)
    # As hard a budget spent at random does not reach what the search does.
    assert metrics[f"adv/{name}/random/rank_after"] >= metrics[f"adv/{name}/rank_after"]
    assert metrics[f"adv/{name}/random/rank_before"] == metrics[f"adv/{name}/rank_before"]
    prefixes = (f"adv/{name}/", f"bm25/adv/{name}/", "cost/attack_")
    assert all(key.startswith(prefixes) for key in metrics)


@pytest.mark.parametrize("config", [TYPO, PARAGRAPH])
def test_a_replay_repeats_every_bit(setup: Setup, config: AttackConfig, tmp_path: Path) -> None:
    found, path = setup.attacked(config), tmp_path / "attack.jsonl"
    save_attacked(found.attacked or [], path)
    assert load_attacked(path) == found.attacked
    again = setup.attacked(TypoConfig(name="none", replay=str(path), **COMMON))
    name = str(config.name)
    skipped = ("curve/", "auc", "random/", f"adv/{name}/queries", "cost/")
    kept = {key: value for key, value in found.metrics.items() if not any(part in key for part in skipped)}
    assert {key: value for key, value in again.metrics.items() if key in kept} == kept
    assert again.metrics["cost/attack_queries"] == 0
    save_attacked(again.attacked or [], tmp_path / "again.jsonl")
    without = [{**vars(entry), "trace": None} for entry in entries(found)]
    assert [vars(entry) for entry in load_attacked(tmp_path / "again.jsonl")] == without


def test_bm25_is_misled_by_sentences_and_not_by_typing_errors(setup: Setup) -> None:
    typed, stitched = setup.attacked(TYPO).metrics, setup.attacked(PARAGRAPH).metrics
    # An error makes a word of the query another one; made-up words have no other way up.
    assert typed["bm25/adv/typo/rank_boost"] <= 0
    assert stitched["bm25/adv/paragraph/success_rate"] == 1.0


def test_pieces_are_the_query_its_words_and_the_sentences_that_hold_them() -> None:
    donors = ["A plain river. The echo of the stone! Moss grows.", "Stone and moss and echo."]
    assert content_words("The echo of a Stone, the stone") == ["echo", "stone"]
    found = pieces_for("the echo of stone and moss", donors, 3, 9)
    assert found == [
        "the echo of stone and moss",
        "echo stone moss",
        "Stone and moss and echo.",
        "The echo of the stone!",
        "Moss grows.",
    ]
    assert pieces_for("the echo of stone and moss", donors, 1, 4) == ["echo stone moss", "Moss grows."]
    assert sentences("One two.  Three\nfour? Five six seven", 2) == ["One two.", "Three four?"]


def test_places_are_starts_of_sentences() -> None:
    text = "One two. Three four. Five"
    assert [places(text, position) for position in ("start", "middle", "end")] == [[0], [9], [25]]
    assert places(text, "any") == [0, 9, 25]
    assert stitched(text, {0: ["A", "B"], 9: ["C"], 25: ["D"]}) == "A B One two. C Three four. Five D"
    assert places("", "any") == [0]
    assert stitched("", {0: ["A"]}) == "A"


texts = st.lists(st.sampled_from([*WORDS, "stone.", "of"]), max_size=12).map(" ".join)
vectors = st.lists(st.integers(-3, 3), min_size=len(WORDS), max_size=len(WORDS))


def begin(rank: int) -> Start:
    query = np.array([1.0], np.float32)
    return Start(0, query, np.sort(np.linspace(-5, 40, rank).astype(np.float32)), -9.0, 0)


@settings(deadline=None)
@given(
    text=texts,
    values=vectors,
    pieces=st.lists(texts.filter(bool), max_size=5, unique=True),
    limits=st.tuples(st.integers(1, 4), st.integers(1, 15)),
    position=st.sampled_from(["start", "middle", "end", "any"]),
    together=st.booleans(),
    accept=st.sampled_from(["rank", "score"]),
)
def test_sentences_never_exceed_their_budget(
    text: str,
    values: list[int],
    pieces: list[str],
    limits: tuple[int, int],
    position: str,
    together: bool,
    accept: str,
) -> None:
    model = BagOfWords({word: (value,) for word, value in zip(WORDS, values, strict=True)})
    options = ParagraphOptions(sentences=limits[0], words=limits[1])
    climb = PieceClimb(begin(20), text, options, pieces, places(text, position), together)
    Greedy(model, None, -1.0, accept).run([climb], progress=False)
    assert climb.spent <= limits[0]
    assert climb.words <= limits[1]
    used = [piece for own in climb.placed.values() for piece in own]
    assert len(used) == len(set(used))
    assert set(used) <= set(pieces)
    assert edited(text, edits_of(text, climb.placed)) == climb.text()
    # Without what was put in, the words are the old ones.
    assert len(climb.text().split()) == len(text.split()) + climb.words
    assert [moment.words for moment in climb.trace] == list(range(climb.spent + 1))
    scores = [moment.score for moment in climb.trace]
    assert scores == sorted(scores)


@settings(deadline=None)
@given(text=texts, values=vectors, words=st.integers(1, 4), tries=st.none() | st.integers(1, 4))
def test_words_never_exceed_their_budget(text: str, values: list[int], words: int, tries: int | None) -> None:
    model = BagOfWords({word: (value,) for word, value in zip(WORDS, values, strict=True)})
    own = Words(text)
    rules = Rules(words, tries, "random", "score", -1.0, 1)
    climb = WordClimb(
        begin(20), own, list(range(len(own))), rules, lambda word: [each for each in WORDS if each != word]
    )
    Greedy(model, None, -1.0, "score").run([climb], progress=False)
    assert climb.spent <= words
    assert climb.tried <= (len(own) if tries is None else tries)
    for edits in (climb.at_random(1), climb.at_random(2)):
        assert len(edits) == climb.spent
        assert edited(text, edits) is not None

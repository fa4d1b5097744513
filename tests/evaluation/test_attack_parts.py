"""Words, synonyms, importance and files of the attack."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import ConfigError, DataError
from retrieval.evaluation.adversarial.records import load_attacked
from retrieval.evaluation.substitution.search import at_random, by_gradient
from retrieval.evaluation.substitution.words import Words, embedding_synonyms, load_synonyms, match_case
from retrieval.search.retriever import TokenGradients
from tests.evaluation.attack_setup import PASSAGE_LENGTH, Setup, make_setup, retriever_of
from tests.rounding import assert_gradients

LINE = {
    "query_id": "q1",
    "passage_id": "p1",
    "rank_before": 60,
    "rank_after": 12,
    "similarity": 0.9,
    "words": [{"start": 4, "old": "film", "new": "movie"}],
    "old_text": "the film",
    "new_text": "the movie",
}


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    return make_setup(tmp_path_factory.mktemp("attack") / "collection")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The film, (über)!", ["The", "film", "über"]),
        ("num_layers x1 don't 3rd e-mail np.zeros", ["mail", "np", "zeros"]),
        ("", []),
        ("'quoted' rock", ["rock"]),
    ],
)
def test_words_are_whole_runs_of_letters(text: str, words: list[str]) -> None:
    found = Words(text)
    assert [found[index] for index in range(len(found))] == words


@settings(deadline=None)
@given(st.text(max_size=60), st.data())
def test_replacing_changes_the_chosen_words_only(text: str, data: st.DataObject) -> None:
    words = Words(text)
    indexes = st.integers(0, max(0, len(words) - 1))
    chosen = data.draw(st.dictionaries(indexes, st.text("xyz", min_size=1, max_size=5))) if len(words) else {}
    changed = words.replace(chosen)
    # Walk through both texts: between the words they are equal, at the words the replacement stands.
    position = shift = 0
    for index in sorted(chosen):
        start, end = words.spans[index]
        assert changed[position + shift : start + shift] == text[position:start]
        assert changed[start + shift : start + shift + len(chosen[index])] == chosen[index]
        shift += len(chosen[index]) - (end - start)
        position = end
    assert changed[position + shift :] == text[position:]
    assert words.replace({index: words[index] for index in chosen}) == text


@pytest.mark.parametrize(
    ("synonym", "word", "expected"),
    [("movie", "film", "movie"), ("movie", "Film", "Movie"), ("movie", "FILM", "MOVIE"), ("one", "I", "One")],
)
def test_capitals_are_kept(synonym: str, word: str, expected: str) -> None:
    assert match_case(synonym, word) == expected


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_both_formats_of_synonyms(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.json", {"film": ["movie", "two words", "Film", "cinema", "movie", "picture"]})
    tagged = write(tmp_path / "b.json", {"film": {"n": ["movie", "cinema"], "v": ["shoot", "movie"]}})
    assert load_synonyms(plain, 2)("FILM") == ["movie", "cinema"]
    assert load_synonyms(plain, 9)("film") == ["movie", "cinema", "picture"]
    assert load_synonyms(tagged, 9)("film") == ["movie", "cinema", "shoot"]
    assert load_synonyms(plain, 9)("unknown") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"a": ["b"],\n"c"}', r"s\.json:2: not JSON"),
        ("[1, 2]", "a JSON object word -> synonyms is needed, not list"),
        ('{"film": "movie"}', "the entry of 'film' is neither a list"),
        ('{"film": {"n": [1]}}', "the entry of 'film' is neither a list"),
    ],
)
def test_malformed_synonyms_are_one_line(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as failure:
        load_synonyms(write(tmp_path / "s.json", content), 3)
    assert len(str(failure.value).splitlines()) == 1


def test_a_missing_file_of_synonyms(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read .*set attack\.synonyms"):
        load_synonyms(tmp_path / "none.json", 3)


@pytest.mark.parametrize(
    ("name", "word", "expected"),
    [
        ("counterfitted_neighbors.json", "movie", "film"),
        ("wordnet_synonyms.json", "individual", "person"),
    ],
)
def test_published_lists_load(shared: Path, name: str, word: str, expected: str) -> None:
    path = shared / "synonyms" / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    found = load_synonyms(path, 5)(word)
    assert expected in found
    assert len(found) <= 5


def test_neighbours_are_by_cosine_and_above_the_least() -> None:
    vectors = np.array([[1, 0], [10, 1], [1, 1], [-1, 0]], dtype=np.float32)
    words = ["one", "two", "three", "four"]
    assert embedding_synonyms(words, vectors, 9, -1.0)("One") == ["two", "three", "four"]
    assert embedding_synonyms(words, vectors, 9, 0.8)("one") == ["two"]
    assert embedding_synonyms(words, vectors, 1, -1.0)("three") == ["two"]
    assert embedding_synonyms(words, vectors, 9, -1.0)("five") == []


def test_importance_sums_occurrences_and_joins_parts() -> None:
    words = Words("ab cdef ab gh cut")
    spans = [(0, 2), (3, 5), (5, 7), (8, 10), (11, 13)]
    # `ab` twice: its gradients add up to 6; `cdef` has two tokens of norms 3 and 4; `cut` was cut off.
    gradients = np.array([[3, 0], [3, 0], [0, 4], [3, 0], [0, 5.5]], dtype=np.float32)
    found = TokenGradients(np.array([7, 8, 9, 7, 5]), np.array(spans), gradients)
    assert by_gradient(words, found) == [0, 2, 3, 1]
    opposed = TokenGradients(found.ids, found.spans, gradients * np.array([[1], [1], [1], [-1], [1]]))
    assert by_gradient(words, opposed) == [3, 1, 0, 2]


def test_random_order_is_seeded() -> None:
    words = Words("aa bb cc dd ee ff gg hh")
    assert sorted(at_random(words, (1, 2))) == list(range(8))
    assert at_random(words, (1, 2)) == at_random(words, (1, 2)) != at_random(words, (1, 3))


def test_gradients_are_the_slope_of_the_score(tmp_path: Path) -> None:
    setup = make_setup(tmp_path / "collection")
    text = "bal dem bal fir gos kut"
    query = setup.query_vectors[:1]
    (found,) = setup.model.gradients([text], query)
    assert [text[a:b] for a, b in found.spans] == text.split(" ")
    table = setup.encoder.backbone.get_input_embeddings().weight.data  # type: ignore[operator]
    random = np.random.default_rng(0)
    for token in np.unique(found.ids):
        direction = random.normal(size=table.shape[1]).astype(np.float32)
        scores = []
        for step in (1e-2, -1e-2):
            row = table[token].clone()
            table[token] += step * torch.from_numpy(direction)
            scores.append(float((setup.model.encode_texts([text], "passages") @ query.T)[0, 0]))
            table[token] = row
        slope = float(found.gradients[found.ids == token].sum(axis=0) @ direction)
        assert (scores[0] - scores[1]) / 2e-2 == pytest.approx(slope, rel=2e-2, abs=1e-4)


def test_batches_of_gradients_keep_the_order_of_the_texts(setup: Setup) -> None:
    texts = list(setup.part.passages())[:70]
    queries = np.repeat(setup.query_vectors[:1], 70, axis=0)
    together = list(setup.model.gradients(texts, queries))
    for index in (0, 5, 63, 64, 69):
        (alone,) = setup.model.gradients(texts[index : index + 1], queries[:1])
        assert np.array_equal(alone.ids, together[index].ids)
        assert len(alone.ids) <= PASSAGE_LENGTH - 2
        assert_gradients([alone.gradients], [together[index].gradients], setup.roundings)


def test_word_embeddings_are_rows_of_whole_words(setup: Setup) -> None:
    words, vectors = setup.model.word_embeddings()
    table = setup.encoder.backbone.get_input_embeddings().weight.detach().numpy()  # type: ignore[operator]
    vocabulary = setup.tokenizer.get_vocab()
    assert {"bal", "dem"} <= set(words)
    assert not any(word.startswith("#") or len(word) == 1 for word in words)
    assert np.array_equal(vectors, table[[vocabulary[word] for word in words]])


def test_texts_the_model_cannot_tell_apart_share_a_key(setup: Setup) -> None:
    model = retriever_of(setup.encoder, setup.tokenizer, 4)
    keys = model.tokens(["bal dem fir", "BAL  dem gos", "dem bal"])
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", r"attack\.jsonl:2: not JSON"),
        ("[]", r"attack\.jsonl:2: not an attacked passage"),
        ({"rank_after": "high"}, r"attack\.jsonl:2: not an attacked passage"),
        ({"words": [{"start": 0}]}, r"attack\.jsonl:2: 'old' is missing; is this an attack\.jsonl\?"),
        (
            {"new_text": "a movie"},
            r"attack\.jsonl:2: new_text is not old_text with the listed words replaced",
        ),
        ({"words": []}, r"attack\.jsonl:2: new_text is not old_text"),
        ({}, r"attack\.jsonl:2: passage 'p1' of query 'q1' stands in line 1"),
    ],
)
def test_malformed_attacked_passages_name_file_line_and_reason(
    tmp_path: Path, line: Any, message: str
) -> None:
    second = line if isinstance(line, str) else json.dumps({**LINE, **line})
    path = write(tmp_path / "attack.jsonl", json.dumps(LINE) + "\n" + second + "\n")
    with pytest.raises(DataError, match=message) as failure:
        load_attacked(path)
    assert len(str(failure.value).splitlines()) == 1


def test_no_attacked_passages_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no attacked passages"):
        load_attacked(write(tmp_path / "attack.jsonl", "\n"))

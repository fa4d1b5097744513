"""Typing errors: what can happen to a word, and how often it does."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.evaluation.draws import Draws, allowed
from retrieval.evaluation.variations.typo import NEIGHBOURS, character_edits, typo

TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(["tensor", "of", "Shape", "num_layers", "returns", "the", "café", "x1"]), max_size=12
).map(" ".join)
RATES = st.floats(0.01, 1.0)
SEEDS = st.integers(0, 2**31 - 1)


def distance(first: str, second: str) -> int:
    """Edits of one character between two words, a swap of neighbours being one (optimal string alignment)."""
    table = [[max(i, j) for j in range(len(second) + 1)] for i in range(len(first) + 1)]
    for i, a in enumerate(first, 1):
        for j, b in enumerate(second, 1):
            table[i][j] = min(table[i - 1][j] + 1, table[i][j - 1] + 1, table[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and (a, b) == (second[j - 2], first[i - 2]):
                table[i][j] = min(table[i][j], table[i - 2][j - 2] + 1)
    return table[-1][-1]


def test_the_keyboard_is_that_of_a_typewriter() -> None:
    assert NEIGHBOURS["q"] == "aw"
    assert NEIGHBOURS["g"] == "bfhtvy"
    assert NEIGHBOURS["m"] == "jkn"
    assert all(key in NEIGHBOURS[other] for key, near in NEIGHBOURS.items() for other in near)


def test_the_edits_of_a_short_word_are_all_there_are() -> None:
    assert character_edits("Qa") == {
        "swap": ["aQ"],
        "drop": ["a", "Q"],
        "insert": ["QAa", "QWa", "Qaq", "Qas", "Qaw", "Qaz"],
        "neighbour": ["Aa", "Wa", "Qq", "Qs", "Qw", "Qz"],
    }
    assert character_edits("é") == {}
    assert character_edits("") == {}


@given(st.text(max_size=8))
def test_an_edit_is_one_typing_error(word: str) -> None:
    for texts in character_edits(word).values():
        assert len(set(texts)) == len(texts)
        assert all(text and distance(word, text) == 1 for text in texts)


@given(TEXTS, SEEDS, RATES)
@settings(deadline=None)
def test_no_more_words_change_than_the_rate_allows(text: str, seed: int, rate: float) -> None:
    varied = typo(text, seed, rate)
    assert varied == typo(text, seed, rate)
    assert bool(varied) == bool(text)
    words = len(re.findall(r"(?<!\w)[^\W\d_]{4,}(?!\w)", text))
    assert distance(text, varied) <= allowed(rate, words)
    assert (varied == text) == (words == 0)


def test_a_text_is_the_same_on_every_machine() -> None:
    assert typo("Compute the mean of all tensors", 1, 0.5) == "Compue the mean of all tensaors"


def test_names_and_short_words_stay() -> None:
    assert typo("num_layers of x1 is the key", 3, 1.0) == "num_layers of x1 is the key"


def test_every_kind_of_error_is_as_likely() -> None:
    counts = dict.fromkeys(("swap", "drop", "insert", "neighbour"), 0)
    edits = character_edits("tensor")
    for seed in range(2000):
        varied = typo("tensor", seed, 1.0)
        (kind,) = [kind for kind, texts in edits.items() if varied in texts]
        counts[kind] += 1
    # Each count is binomial, 500 ± 19.4 in the mean: five standard deviations are 97.
    assert all(abs(count - 500) < 97 for count in counts.values()), counts


@given(st.integers(0, 30), st.integers(0, 40), SEEDS)
def test_some_are_different_and_ascend(count: int, wanted: int, seed: int) -> None:
    chosen = Draws("name", "text", seed).some(count, wanted)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, wanted)
    assert all(0 <= number < count for number in chosen)

"""Typing errors of one character: neighbours swapped, a letter dropped, inserted or hit beside.

The kinds are those that dense retrievers were tested with first (Zhuang and Zuccon 2021, arXiv 2108.12139).
"""

import re

from retrieval.evaluation.draws import Draws, allowed
from retrieval.evaluation.variation import Variation

ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
"""The keyboard; each row stands half a key to the right of the one above."""

SHORTEST = 4
"""Letters of a word that gets a typing error, at least: of most shorter words another word is made."""

_WORD = re.compile(rf"(?<!\w)[^\W\d_]{{{SHORTEST},}}(?!\w)")


def _neighbours() -> dict[str, str]:
    keys = {(row, place): key for row, keys in enumerate(ROWS) for place, key in enumerate(keys)}
    beside = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))
    return {
        key: "".join(sorted(keys[at] for r, p in beside if (at := (row + r, place + p)) in keys))
        for (row, place), key in keys.items()
    }


NEIGHBOURS = _neighbours()
"""Letter -> the letters beside it on the keyboard, by the alphabet."""


def character_edits(word: str) -> dict[str, list[str]]:
    """What one typing error makes of a word, by the kind of the error: ``swap, drop, insert, neighbour``.

    Swapped are two letters that follow each other; inserted is a neighbour on the keyboard, after the letter;
    replaced is a letter by such a neighbour, in its case. No result is the word itself or empty, and none
    occurs twice within a kind. A kind that makes nothing of the word is left out.
    """
    places = range(len(word))
    near = [_beside(letter) for letter in word]
    found = {
        "swap": [word[:i] + word[i + 1] + word[i] + word[i + 2 :] for i in places[:-1]],
        "drop": [word[:i] + word[i + 1 :] for i in places],
        "insert": [word[: i + 1] + letter + word[i + 1 :] for i in places for letter in near[i]],
        "neighbour": [word[:i] + letter + word[i + 1 :] for i in places for letter in near[i]],
    }
    kinds = {
        kind: [text for text in dict.fromkeys(texts) if text and text != word]
        for kind, texts in found.items()
    }
    return {kind: texts for kind, texts in kinds.items() if texts}


def _beside(letter: str) -> str:
    near = NEIGHBOURS.get(letter.lower(), "")
    return near.upper() if letter.isupper() else near


def typo(text: str, seed: int, rate: float) -> str:
    """A text with one typing error in each of a share ``rate`` of its words, one word at least.

    Words are runs of :data:`SHORTEST` letters or more that no digit, underscore or other letter touches:
    names such as ``num_layers`` stay. Kind and place of an error are drawn, each kind with equal probability.
    A text without such a word stays as it is.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    draws = Draws("typo", text, seed)
    parts, position = [], 0
    for number in draws.some(len(spans), allowed(rate, len(spans))):
        start, end = spans[number]
        kinds = character_edits(text[start:end])
        parts += [text[position:start], draws.one(kinds[draws.one(list(kinds))])]
        position = end
    return "".join([*parts, text[position:]])


class Typo(Variation):
    """:func:`typo` at the rate of ``eval.variation_rate``."""

    name = "typo"

    def __call__(self, text: str, seed: int) -> str:
        """See :class:`Variation`."""
        return typo(text, seed, self.config.variation_rate)

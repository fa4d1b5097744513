"""Pieces of text that look relevant to a query: the query, its words, and sentences that hold them.

PAT (Liu et al., CCS 2022) and IDEM (Chen et al., Findings of ACL 2023) generate such text; here no generator
is needed, and each piece was written by somebody.
"""

import re
from collections.abc import Iterable, Sequence

from bm25s.stopwords import STOPWORDS_EN

_WORD = re.compile(r"[^\W_]+")
_END = re.compile(r"(?<=[.!?])\s+")
_STOP = frozenset(STOPWORDS_EN)


def content_words(text: str) -> list[str]:
    """The lower-case words of a text that are no stop words, each once, in their order."""
    words = (match.group().lower() for match in _WORD.finditer(text))
    return list(dict.fromkeys(word for word in words if word not in _STOP))


def sentences(text: str, most: int) -> list[str]:
    """The sentences of a text that have ``most`` words at most, on one line each."""
    parts = (" ".join(part.split()) for part in _END.split(text))
    return [part for part in parts if 0 < len(part.split()) <= most]


def pieces_for(query: str, donors: Iterable[str], count: int, most: int) -> list[str]:
    """The query, its words without stop words, and at most ``count`` sentences that hold some of these.

    ``donors``: passages that the sentences are taken from, the best first. Sentences come by the number of
    the query's words that they hold, then in their order. No piece occurs twice or has more than ``most``
    words.
    """
    wanted = content_words(query)
    found = dict.fromkeys(each for text in donors for each in sentences(text, most))
    held = {each: len(set(wanted).intersection(content_words(each))) for each in found}
    listed = sorted((each for each in found if held[each]), key=lambda each: -held[each])[:count]
    made = (" ".join(query.split()), " ".join(wanted), *listed)
    return [piece for piece in dict.fromkeys(made) if piece and len(piece.split()) <= most]


def places(text: str, position: str) -> list[int]:
    """Where pieces may be put into a text, in characters: its ``start``, ``middle``, ``end`` or ``any``.

    The middle is the start of the sentence, or else of the word, that is nearest to the middle.
    """
    middle = _middle(text)
    named = {"start": [0], "middle": [middle], "end": [len(text)]}
    return named[position] if position in named else sorted({0, middle, len(text)})


def _middle(text: str) -> int:
    for pattern in (_END, re.compile(r"\s+")):
        starts = [match.end() for match in pattern.finditer(text) if 0 < match.end() < len(text)]
        if starts:
            return min(starts, key=lambda start: abs(2 * start - len(text)))
    return 0


def inserted(text: str, place: int, pieces: Sequence[str]) -> str:
    """What is put in at a place so that spaces stand between all pieces and the text."""
    joined = " ".join(pieces)
    if place < len(text):
        return f"{joined} "
    return f" {joined}" if text else joined

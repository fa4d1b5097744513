"""What a bias probe is. Each registers itself.

A probe makes two texts of a relevant passage by controlled edits: one that a biased model prefers, and
another that answers the query as well. Both are made of the same excerpt, short enough that models read all
of it. After ColDeR (Fayyaz et al. 2025, arXiv 2503.05037), which pairs annotated documents; here the
collection's own passages are edited, so that any collection can be probed.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from retrieval.config.evaluation import PROBES
from retrieval.config.registry import Registered
from retrieval.evaluation.variation import stop_words

MOST_WORDS = 64
"""Words of an excerpt, parted by white space: some hundred tokens."""

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n\s*\n")
_WORD = re.compile(r"[^\W_]+(?:_[^\W_]+)*")


class Probe(Registered, ABC, registry=PROBES):
    """A bias. A subclass with a ``name`` registers itself."""

    name: ClassVar[str]
    """Item of ``eval.probes``."""

    @abstractmethod
    def pair(self, excerpt: Excerpt) -> tuple[str, str] | None:
        """The text that a biased model prefers, and the other; ``None`` where no such pair can be made."""


@dataclass(frozen=True)
class Excerpt:
    """The evidence of a passage for a query, and sentences around it."""

    query: str
    sentences: tuple[str, ...]
    evidence: int
    """Which sentence shares the most content words with the query; the first of equals."""
    shared: int
    """How many it shares."""

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join(self.sentences)

    @property
    def others(self) -> tuple[str, ...]:
        """The sentences beside the evidence, in their order."""
        return self.sentences[: self.evidence] + self.sentences[self.evidence + 1 :]


def excerpt_of(query: str, passage: str) -> Excerpt | None:
    """At most :data:`MOST_WORDS` words of a passage around its evidence; ``None`` of an empty passage.

    Sentences are added to the evidence in turn after and before it, as long as they fit. An evidence that is
    longer is cut at its end. White space is one space throughout.
    """
    sentences = [" ".join(part.split()) for part in _SENTENCE_END.split(passage)]
    sentences = [sentence for sentence in sentences if sentence]
    if not sentences:
        return None
    asked = content_words(query)
    counts = [len(asked & content_words(sentence)) for sentence in sentences]
    place = counts.index(max(counts))
    first, stop = place, place + 1
    room = MOST_WORDS - len(sentences[place].split())
    after = before = True
    while room > 0 and (after or before):
        after = after and stop < len(sentences) and len(sentences[stop].split()) <= room
        if after:
            room -= len(sentences[stop].split())
            stop += 1
        before = before and first > 0 and len(sentences[first - 1].split()) <= room
        if before:
            first -= 1
            room -= len(sentences[first].split())
    kept = [" ".join(sentence.split()[:MOST_WORDS]) for sentence in sentences[first:stop]]
    shared = len(asked & content_words(kept[place - first]))
    return Excerpt(query, tuple(kept), place - first, shared)


def tokens(text: str) -> list[tuple[str, int, int]]:
    """The words of a text in small letters, names with underscores being one, with start and end."""
    return [(match[0].lower(), *match.span()) for match in _WORD.finditer(text)]


def content_words(text: str) -> set[str]:
    """The different words of a text in small letters, without those that BM25 leaves out."""
    return {word for word, *_ in tokens(text)} - stop_words()

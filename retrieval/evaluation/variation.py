"""What a variation of queries is. Each registers itself.

A variation asks for the same in other words or letters: judgements stay as they are. It depends on the text
and the seed alone, so that every model is asked the same and a query can be varied again at any time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from retrieval.config import EvalConfig
from retrieval.config.evaluation import VARIATIONS
from retrieval.config.registry import Registered


class Variation(Registered, ABC, registry=VARIATIONS):
    """A way to vary a query.

    A subclass with a ``name`` registers itself. Its module imports what is slow in functions: the
    configuration imports it to know the valid names.
    """

    name: ClassVar[str]
    """Item of ``eval.variations``."""

    def __init__(self, config: EvalConfig) -> None:
        """Nothing is read yet. Of ``config``, the keys that the variation needs are."""
        self.config = config

    @classmethod
    def check(cls, config: EvalConfig) -> None:
        """Refuse a configuration that the variation cannot work with.

        Raises:
            ConfigError: names the key, the bad value and the fix.
        """

    @abstractmethod
    def __call__(self, text: str, seed: int) -> str:
        """The varied text; never empty where ``text`` is not, and ``text`` itself where nothing varies."""


def words_of(text: str) -> list[str]:
    """The words of a text, as white space parts them."""
    return text.split()


def without_marks(word: str) -> str:
    """A word without quotation marks around it and marks of a sentence after it; ``C++`` and ``.5`` stay."""
    return word.lstrip(QUOTES).rstrip(QUOTES + MARKS)


QUOTES, MARKS = "\"'‘’“”«»", ".,;:!?…"


def stop_words() -> frozenset[str]:
    """The English words that BM25 leaves out, which are Lucene's."""
    from bm25s.stopwords import STOPWORDS_EN

    return frozenset(STOPWORDS_EN)

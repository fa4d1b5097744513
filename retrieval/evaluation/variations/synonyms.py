"""``synonyms``: a paraphrase by a list of words."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.config import EvalConfig
from retrieval.config.word_lists import need_synonyms
from retrieval.evaluation.draws import Draws, allowed
from retrieval.evaluation.variation import Variation

if TYPE_CHECKING:
    from retrieval.evaluation.substitution.words import Synonyms as Listed

MOST = 8
"""Synonyms of a word that are drawn among, the first of its list."""


class Synonyms(Variation):
    """A share ``eval.variation_rate`` of the words that the list knows gives way to one of their synonyms.

    Words are those of the attack ``wsra``: runs of two letters or more. A synonym takes the word's capitals.
    The list is ``eval.synonyms``, in the formats of ``attack.synonyms``.
    """

    name = "synonyms"

    @classmethod
    def check(cls, config: EvalConfig) -> None:
        """The list must be there."""
        need_synonyms("eval.variations=synonyms", "eval.synonyms", config.synonyms)

    def __call__(self, text: str, seed: int) -> str:
        """See :class:`Variation`."""
        from retrieval.evaluation.substitution.words import Words, match_case

        words, listed = Words(text), self._list
        known = [place for place in range(len(words)) if listed(words[place])]
        draws = Draws("synonyms", text, seed)
        count = allowed(self.config.variation_rate, len(known))
        chosen = [known[number] for number in draws.some(len(known), count)]
        return words.replace(
            {place: match_case(draws.one(listed(words[place])), words[place]) for place in chosen}
        )

    @cached_property
    def _list(self) -> Listed:
        from retrieval.evaluation.substitution.words import load_synonyms

        return load_synonyms(Path(str(self.config.synonyms)), MOST)

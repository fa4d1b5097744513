"""``paragraph``: sentences that look relevant are put before, into or behind a passage.

Query echo, keyword stuffing and sentences of passages that rank high, where PAT (Liu et al., CCS 2022) and
IDEM (Chen et al., Findings of ACL 2023) put in generated text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from retrieval.evaluation.adversarial.attack import Attack, Scene
from retrieval.evaluation.stitching.options import ParagraphConfig

if TYPE_CHECKING:
    from retrieval.evaluation.adversarial.records import Edit


_QUERY_WORDS = 4
"""Content words of a query that a passage lacks, typically."""


class Paragraph(Attack):
    """Puts sentences in, one after the other, while the rank or the score improves."""

    name = "paragraph"
    options = ParagraphConfig

    @classmethod
    def passes(cls, config: Any) -> list[tuple[float, int | None]]:
        """See :class:`Attack`; most passages end after a step or two, or when words run out."""
        own = config.paragraph
        places = 3 if own.position == "any" else 1
        steps, tried = (min(own.sentences, 1.5), 2 + own.candidates)
        if own.unit == "word":
            steps, tried = min(own.sentences, _QUERY_WORDS), _QUERY_WORDS
        return [(config.queries * config.targets * steps * places * tried, None)]

    @property
    def budget(self) -> int:
        """``attack.paragraph.sentences``."""
        return int(self.config.paragraph.sentences)

    def edits(self, scene: Scene) -> tuple[list[tuple[Edit, ...]], int]:
        """What is put into each target, and how many texts the model was asked for."""
        from retrieval.evaluation.stitching.search import search
        from retrieval.search.loading import load_retriever

        surrogate = load_retriever(self.config.surrogate) if self.config.surrogate else None
        config = self.config
        return search(scene, config.paragraph, config.seed, config.similarity, surrogate)

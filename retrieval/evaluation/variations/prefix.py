"""``prefix``: words before the query that ask for nothing."""

from retrieval.evaluation.draws import Draws
from retrieval.evaluation.variation import Variation

PREFIXES = (
    "hi there,",
    "please tell me:",
    "quick question:",
    "I was wondering,",
    "can you help me with this:",
    "search results for",
    "my colleague asked me to look up",
    "sorry if this has been asked before,",
)


class Prefix(Variation):
    """One of :data:`PREFIXES` before the text; an empty text stays empty."""

    name = "prefix"

    def __call__(self, text: str, seed: int) -> str:
        """See :class:`Variation`."""
        return f"{Draws('prefix', text, seed).one(PREFIXES)} {text}" if text.strip() else text

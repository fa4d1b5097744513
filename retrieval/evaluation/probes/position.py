"""``position``: is the same text preferred with its evidence early?"""

from retrieval.evaluation.probe import Excerpt, Probe


class Position(Probe):
    """The evidence before all other sentences, against the evidence behind them."""

    name = "position"

    def pair(self, excerpt: Excerpt) -> tuple[str, str] | None:
        """See :class:`Probe`; there is none without an evidence, or with nothing around it."""
        if not excerpt.shared or not excerpt.others:
            return None
        evidence = excerpt.sentences[excerpt.evidence]
        return " ".join((evidence, *excerpt.others)), " ".join((*excerpt.others, evidence))

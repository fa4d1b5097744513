"""``length``: is the same evidence preferred without the rest of the passage?"""

from retrieval.evaluation.probe import Excerpt, Probe


class Length(Probe):
    """The evidence alone, against the evidence among the sentences around it."""

    name = "length"

    def pair(self, excerpt: Excerpt) -> tuple[str, str] | None:
        """See :class:`Probe`; there is none without an evidence, or with nothing around it."""
        if not excerpt.shared or not excerpt.others:
            return None
        return excerpt.sentences[excerpt.evidence], excerpt.text

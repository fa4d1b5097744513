"""``repetition``: is a passage preferred that repeats the query?"""

from retrieval.evaluation.probe import Excerpt, Probe


class Repetition(Probe):
    """The query before the excerpt, against as many words of the excerpt's own beginning before it.

    Both texts repeat something, and are equally long in words.
    """

    name = "repetition"

    def pair(self, excerpt: Excerpt) -> tuple[str, str] | None:
        """See :class:`Probe`; there is none where the excerpt has fewer words than the query."""
        query, words = excerpt.query.split(), excerpt.text.split()
        if not query or len(words) < len(query):
            return None
        return " ".join([*query, *words]), " ".join([*words[: len(query)], *words])

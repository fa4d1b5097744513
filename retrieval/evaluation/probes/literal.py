"""``literal``: do the words of the query count for more than the other words of the passage?"""

from retrieval.evaluation.draws import Draws
from retrieval.evaluation.probe import Excerpt, Probe, content_words, tokens


class Literal(Probe):
    """Without some words that are not the query's, against without as many that are.

    Content words of the query are left out wherever they stand in the excerpt, or as many of them as it has
    other content words, which are drawn. So both texts are equally long and equally damaged, and differ in
    which words they keep.
    """

    name = "literal"

    def pair(self, excerpt: Excerpt) -> tuple[str, str] | None:
        """See :class:`Probe`; there is none where all content words are the query's, or none is."""
        text = excerpt.text
        asked, content = content_words(excerpt.query), content_words(text)
        found = [token for token in tokens(text) if token[0] in content]
        own = [token for token in found if token[0] in asked]
        others = [token for token in found if token[0] not in asked]
        count = min(len(own), len(others))
        if not count:
            return None
        chosen = [others[place] for place in Draws("literal", text, 0).some(len(others), count)]
        return _without(text, chosen), _without(text, own[:count])


def _without(text: str, left_out: list[tuple[str, int, int]]) -> str:
    for _, start, end in reversed(left_out):
        text = text[:start] + text[end:]
    return " ".join(text.split())

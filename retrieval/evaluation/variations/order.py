"""``order``: the same words in a random order."""

from retrieval.evaluation.draws import Draws
from retrieval.evaluation.variation import Variation, words_of


class Order(Variation):
    """All words change places at random; a text of one word stays.

    Where the drawn order is the old one, the first word goes to the end.
    """

    name = "order"

    def __call__(self, text: str, seed: int) -> str:
        """See :class:`Variation`."""
        words = words_of(text)
        if len(set(words)) < 2:
            return text
        shuffled = [words[place] for place in Draws("order", text, seed).order(len(words))]
        return " ".join(words[1:] + words[:1] if shuffled == words else shuffled)

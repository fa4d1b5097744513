"""``case``: other capitals and other punctuation, the same words."""

from retrieval.evaluation.draws import Draws
from retrieval.evaluation.variation import Variation, without_marks, words_of


class Case(Variation):
    """All small letters, all capitals or A Capital For Every Word, drawn; and other punctuation.

    A text with quotation marks around words or marks of a sentence after them loses these; any other gets a
    question mark. What is marks alone stays, and so do marks within words.
    """

    name = "case"

    def __call__(self, text: str, seed: int) -> str:
        """See :class:`Variation`."""
        words = words_of(text)
        plain = [without_marks(word) or word for word in words]
        if not words:
            return text
        casing = Draws("case", text, seed).one((str.lower, str.upper, capitalised))
        varied = casing(" ".join(plain))
        return varied if plain != words else f"{varied}?"


def capitalised(text: str) -> str:
    """A text whose words begin with a capital; their other letters stay."""
    return " ".join(word[:1].upper() + word[1:] for word in text.split())

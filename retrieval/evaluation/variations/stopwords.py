"""``stopwords``: the query as people type it into a search box, without function words."""

from retrieval.evaluation.variation import Variation, stop_words, without_marks, words_of


class StopWords(Variation):
    """Without the English words that BM25 leaves out; a text of such words alone stays."""

    name = "stopwords"

    def __call__(self, text: str, seed: int) -> str:
        """See :class:`Variation`; nothing is drawn."""
        words, left_out = words_of(text), stop_words()
        kept = [word for word in words if without_marks(word).lower() not in left_out]
        return " ".join(kept) if kept and len(kept) < len(words) else text

"""``stem``: words without their endings."""

import re
from functools import cache
from typing import Any

from retrieval.evaluation.variation import Variation

_WORD = re.compile(r"(?<!\w)[^\W\d_]{2,}(?!\w)")


class Stem(Variation):
    """Each word gives way to its stem by Porter's second algorithm for English, in small letters.

    Words are runs of two letters or more that no digit, underscore or other letter touches. A word that is
    its own stem stays as it is written.
    """

    name = "stem"

    def __call__(self, text: str, seed: int) -> str:
        """See :class:`Variation`; nothing is drawn."""
        return _WORD.sub(_stemmed, text)


def _stemmed(match: re.Match[str]) -> str:
    word = match[0].lower()
    stem: str = _stemmer().stemWord(word)
    return stem if stem and stem != word else match[0]


@cache
def _stemmer() -> Any:
    import Stemmer

    return Stemmer.Stemmer("english")

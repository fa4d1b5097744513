"""Keys of the attack ``wsra``."""

from dataclasses import dataclass

from retrieval.config import AttackConfig
from retrieval.config.knobs import knob

EMBEDDING = "embedding"


_TRIED = 1.25
"""Words tried for each that is replaced, as a rule (measured: 12 for 10 with bert-tiny on pydocs)."""


def texts_of(words: int, tries: int | None, candidates: int) -> float:
    """Texts that a search over words asks for, as a rule, for a passage: a gradient and its candidates."""
    tried = _TRIED * words
    return 1 + candidates * (tried if tries is None else min(tries, tried))


@dataclass
class WsraConfig(AttackConfig):
    """Word-substitution ranking attack."""

    words: int = knob(10, "m: words replaced in a passage at most.", minimum=1)
    tries: int | None = knob(
        20, "Words tried in a passage, most important first; null: all, until m are replaced.", minimum=1
    )
    synonyms: str = knob(
        "embedding",
        "embedding (neighbours among the model's word embeddings), or a JSON file of synonyms.",
        content=True,
    )
    candidates: int = knob(8, "Synonyms tried for a word.", minimum=1)
    min_cosine: float = knob(
        0.0,
        "Least cosine of a neighbour with synonyms=embedding; near 0.2 are those of short trainings.",
        minimum=-1,
        maximum=1,
    )
    importance: str = knob(
        "gradient",
        "Order of the words: by the gradient's norm at their embedding rows, or at random.",
        choices=("gradient", "random"),
    )
    surrogate: str | None = knob(
        None,
        "Run folder, or sentence-transformers folder or hub id, that lends gradients and embeddings in place "
        "of the attacked model, which is then asked for scores only.",
        content=True,
    )
    accept: str = knob(
        "rank",
        "A replacement stays when the rank strictly improves, or already when the score does.",
        choices=("rank", "score"),
    )

"""Keys of the attack ``paragraph``."""

from dataclasses import dataclass, field

from retrieval.config import AttackConfig
from retrieval.config.knobs import knob


@dataclass
class ParagraphOptions:
    """Keys of ``attack.paragraph``."""

    unit: str = knob(
        "sentence",
        "What is put in: sentences about the query, or the query's words, one after the other. Sentences "
        "that echo the query lift any passage of a weak model at once; words tell such models apart.",
        choices=("sentence", "word"),
    )
    sentences: int = knob(3, "m: sentences, or words, put into a passage at most.", minimum=1)
    words: int = knob(60, "Words put into a passage at most.", minimum=1)
    position: str = knob(
        "start",
        "Where they are put in; any: wherever each one helps most.",
        choices=("start", "middle", "end", "any"),
    )
    candidates: int = knob(8, "Sentences of other passages tried beside the query and its words.", minimum=0)
    donors: int = knob(10, "Best passages of the query that these sentences are taken from.", minimum=0)
    sentence_words: int = knob(30, "Words of a sentence at most.", minimum=1)
    accept: str = knob(
        "rank",
        "A sentence stays when the rank strictly improves, or already when the score does.",
        choices=("rank", "score"),
    )


@dataclass
class ParagraphConfig(AttackConfig):
    """Sentences put into passages."""

    surrogate: str | None = knob(
        None,
        "Run folder, or sentence-transformers folder or hub id, whose scores order the sentences in place "
        "of the attacked model's, which is then asked for one text a step.",
        content=True,
    )
    paragraph: ParagraphOptions = field(default_factory=ParagraphOptions)

"""``typo``: typing errors in important words of a passage, as adversarial characters.

One error a word, of the kinds that dense retrievers were first tested with on queries (Zhuang and Zuccon
2021, arXiv 2108.12139); chosen by the search of ``wsra`` as adversarial characters are for classifiers
(Ebrahimi et al. 2018, arXiv 1712.06751).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from retrieval.config import AttackConfig
from retrieval.config.knobs import knob
from retrieval.evaluation.adversarial.attack import Attack, Scene
from retrieval.evaluation.substitution.options import texts_of

if TYPE_CHECKING:
    from retrieval.evaluation.adversarial.records import Edit


@dataclass
class TypoOptions:
    """Keys of ``attack.typo``."""

    characters: int = knob(
        10, "m: edits of one character in a passage at most, one in a word at most.", minimum=1
    )
    tries: int | None = knob(20, "Words tried in a passage, most important first; null: all.", minimum=1)
    candidates: int = knob(8, "Typing errors tried for a word, chosen at random among all.", minimum=1)
    importance: str = knob(
        "gradient",
        "Order of the words: by the gradient's norm at their embedding rows, or at random.",
        choices=("gradient", "random"),
    )
    accept: str = knob(
        "rank",
        "An error stays when the rank strictly improves, or already when the score does.",
        choices=("rank", "score"),
    )


@dataclass
class TypoConfig(AttackConfig):
    """Typing errors in passages."""

    surrogate: str | None = knob(
        None,
        "Run folder, or sentence-transformers folder or hub id, that lends its gradients in place of the "
        "attacked model, which is then asked for scores only.",
        content=True,
    )
    typo: TypoOptions = field(default_factory=TypoOptions)


class Typo(Attack):
    """Puts typing errors into words, one after the other, while the rank or the score improves."""

    name = "typo"
    options = TypoConfig

    @classmethod
    def passes(cls, config: Any) -> list[tuple[float, int | None]]:
        """See :class:`Attack`."""
        return [
            (
                config.queries
                * config.targets
                * texts_of(config.typo.characters, config.typo.tries, config.typo.candidates),
                None,
            )
        ]

    @property
    def budget(self) -> int:
        """``attack.typo.characters``."""
        return int(self.config.typo.characters)

    def edits(self, scene: Scene) -> tuple[list[tuple[Edit, ...]], int]:
        """The misspelt words of each target, and how many texts the model was asked for."""
        from retrieval.evaluation.substitution.search import Rules, search
        from retrieval.search.loading import load_retriever

        own = self.config.typo
        rules = Rules(
            words=own.characters,
            tries=own.tries,
            importance=own.importance,
            accept=own.accept,
            similarity=self.config.similarity,
            seed=self.config.seed,
        )
        surrogate = load_retriever(self.config.surrogate) if self.config.surrogate else None
        return search(scene, rules, self._errors, surrogate)

    def _errors(self, word: str) -> list[str]:
        """Some words that a typing error makes of a word, the same ones each time."""
        from retrieval.evaluation.draws import Draws
        from retrieval.evaluation.variations.typo import SHORTEST, character_edits

        if len(word) < SHORTEST:
            return []
        every = list(dict.fromkeys(text for texts in character_edits(word).values() for text in texts))
        draws = Draws("typo attack", word, self.config.seed)
        return [every[at] for at in draws.some(len(every), self.config.typo.candidates)]

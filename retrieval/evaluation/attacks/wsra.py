"""``wsra``: word-substitution ranking attack, after PRADA (Wu et al. 2022, arXiv 2204.01321).

docs/attack.md describes the protocol and how it differs from PRADA's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.config import Config
from retrieval.errors import ConfigError
from retrieval.evaluation.adversarial.attack import Attack, Scene
from retrieval.evaluation.substitution.options import EMBEDDING, WsraConfig, texts_of

if TYPE_CHECKING:
    from retrieval.evaluation.adversarial.records import Edit


class Wsra(Attack):
    """Replaces words by synonyms, one after the other, while the rank or the score improves."""

    name = "wsra"
    options = WsraConfig

    @classmethod
    def check(cls, cell: Config) -> None:
        """Refuse a list of synonyms that is not there."""
        synonyms: str = cell.attack.synonyms  # type: ignore[attr-defined]
        if synonyms != EMBEDDING and not Path(synonyms).is_file():
            raise ConfigError(
                f"attack.synonyms={synonyms}: no such file; valid: embedding, or a JSON file of synonyms"
            )

    @classmethod
    def passes(cls, config: Any) -> list[tuple[float, int | None]]:
        """See :class:`Attack`."""
        return [
            (config.queries * config.targets * texts_of(config.words, config.tries, config.candidates), None)
        ]

    def __init__(self, config: WsraConfig) -> None:
        from retrieval.evaluation.substitution.words import load_synonyms

        super().__init__(config)
        listed = config.synonyms != EMBEDDING
        self._listed = load_synonyms(Path(config.synonyms), config.candidates) if listed else None

    @property
    def budget(self) -> int:
        """``attack.words``."""
        return int(self.config.words)

    def edits(self, scene: Scene) -> tuple[list[tuple[Edit, ...]], int]:
        """The replaced words of each target, and how many texts the model was asked for."""
        from retrieval.evaluation.substitution.search import Rules, search
        from retrieval.evaluation.substitution.words import embedding_synonyms, match_case
        from retrieval.search.loading import load_retriever

        config = self.config
        surrogate = load_retriever(config.surrogate) if config.surrogate else None
        synonyms = self._listed
        if synonyms is None:
            guide = surrogate or scene.model
            synonyms = embedding_synonyms(*guide.word_embeddings(), config.candidates, config.min_cosine)
        rules = Rules(
            words=config.words,
            tries=config.tries,
            importance=config.importance,
            accept=config.accept,
            similarity=config.similarity,
            seed=config.seed,
        )
        return search(
            scene, rules, lambda word: [match_case(each, word) for each in synonyms(word)], surrogate
        )

"""``synonyms``: ``substitution`` by the words of a list."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.config import PerturbationConfig
from retrieval.config.word_lists import need_synonyms
from retrieval.errors import ConfigError
from retrieval.training.perturbations.substitution import Substitution

if TYPE_CHECKING:
    from torch import Tensor


class Synonyms(Substitution):
    """As ``substitution``, but a word gives way to one of its synonyms in ``synonyms``, not to a near word.

    Of a word's list the first ``neighbours`` count that are one token, with the word's capitals.
    """

    name = "synonyms"

    @classmethod
    def check(cls, config: PerturbationConfig) -> None:
        """The list must be there."""
        need_synonyms(
            "strategy.perturbation.kind=synonyms", "strategy.perturbation.synonyms", config.synonyms
        )

    def replaceable(self, ids: Tensor) -> Tensor:
        """Words with a synonym: bool[T]."""
        return super().replaceable(ids) & (self._listed.to(ids.device)[ids, 0] >= 0)

    def candidates(self, table: Tensor, ids: Tensor) -> Tensor:
        """Their synonyms, int64[n, k], −1 where there are fewer."""
        return self._listed.to(ids.device)[ids]

    def search_work(self, table: Tensor) -> float:
        """FLOPs for a word: none, the list is looked up."""
        return 0.0

    @cached_property
    def _listed(self) -> Tensor:
        """Synonyms of every token id, int64[V, k]."""
        import torch

        from retrieval.evaluation.substitution.words import load_synonyms, match_case
        from retrieval.training.adversary import WORD_START

        synonyms = load_synonyms(Path(str(self.config.synonyms)), self.config.neighbours)
        whole = set(self.vocabulary.choices.tolist())
        named = {
            token.lstrip("".join(WORD_START)): index
            for token, index in self.tokenizer.get_vocab().items()
            if index in whole
        }
        rows = {
            index: [named[like] for other in synonyms(word) if (like := match_case(other, word)) in named]
            for word, index in named.items()
        }
        most = max(map(len, rows.values()), default=0)
        if not most:
            raise ConfigError(
                f"strategy.perturbation.synonyms={self.config.synonyms}: no word of the tokenizer has a "
                "synonym that is one of its words; give another list, or use substitution"
            )
        listed = torch.full((len(self.vocabulary.whole), most), -1, dtype=torch.long)
        for index, found in rows.items():
            listed[index, : len(found)] = torch.tensor(found, dtype=torch.long)
        return listed

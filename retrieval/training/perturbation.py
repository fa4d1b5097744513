"""What a perturbation of training inputs is. Each registers itself.

Perturbed are the passages alone, positive and negative, but where a kind says otherwise; special tokens stay
as they are. Everything follows from (seed, step).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from retrieval.config import PerturbationConfig
from retrieval.config.registry import Registered
from retrieval.config.strategy import PERTURBATIONS
from retrieval.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

    from retrieval.data.batches import RankingBlock
    from retrieval.models.scorer import Scorer
    from retrieval.training.adversary import AttackedBatch, Perturbed, Vocabulary
    from retrieval.training.rewriting import Spelling


class Perturbation(Registered, ABC, registry=PERTURBATIONS):
    """Perturbs the attacked block of a batch, so that its ranking loss rises.

    A subclass with a ``name`` registers itself. Its module imports PyTorch in functions, because ``--help``
    and the plan of a sweep import it.
    """

    name: ClassVar[str]
    """Value of ``strategy.perturbation.kind``."""
    strength: ClassVar[str]
    """Key of ``strategy.perturbation`` that says how strong it is."""
    replaces_words: ClassVar[bool] = False
    """Whether it draws words from the tokenizer's vocabulary."""
    one_device: ClassVar[bool] = False
    """Whether it cannot run on several devices."""

    def __init__(self, config: PerturbationConfig, vocabulary: Vocabulary, seed: int, tokenizer: Any) -> None:
        """A perturbation of a run; ``vocabulary``: of its ``tokenizer``.

        Raises:
            ConfigError: words are to be replaced and the vocabulary has none.
        """
        if self.replaces_words and len(vocabulary.choices) < 2:
            raise ConfigError(
                f"strategy.perturbation.kind={self.name} replaces words and the tokenizer's vocabulary has "
                "none; use fgsm or pgd"
            )
        self.config, self.vocabulary, self.seed = config, vocabulary, seed
        self.tokenizer = tokenizer

    @classmethod
    def check(cls, config: PerturbationConfig) -> None:
        """Refuse a configuration that the perturbation cannot work with.

        Raises:
            ConfigError: names the key, the bad value and the fix.
        """

    @cached_property
    def spelling(self) -> Spelling:
        """The words that token ids spell."""
        from retrieval.training.rewriting import Spelling

        return Spelling(self.tokenizer, self.vocabulary)

    @classmethod
    def gradients(cls, config: PerturbationConfig) -> int:
        """Gradients with respect to the passages that a perturbation takes."""
        return 1

    def __call__(self, scorer: Scorer, batch: AttackedBatch) -> Perturbed:
        """The batch as the scorer is to see it."""
        self.vocabulary = self.vocabulary.to(batch.tokens.ids.device)
        return self.perturbed(scorer, batch)

    @abstractmethod
    def perturbed(self, scorer: Scorer, batch: AttackedBatch) -> Perturbed:
        """The batch as the scorer is to see it; the vocabulary is on the batch's device."""


class Rewriting(Perturbation):
    """Writes texts of the block anew, by random choices alone; sequences may change their lengths."""

    one_device = True

    @classmethod
    def gradients(cls, config: PerturbationConfig) -> int:
        """None."""
        return 0

    def perturbed(self, scorer: Scorer, batch: AttackedBatch) -> Perturbed:
        """The batch with the sequences that :meth:`rewrite` leaves."""
        import numpy as np

        from retrieval.data.batches import NOISE, step_seed
        from retrieval.training.rewriting import sequences_of, with_sequences

        generator = np.random.default_rng(step_seed(self.seed, batch.step, NOISE))
        sequences = sequences_of(batch)
        self.rewrite(sequences, batch.blocks[batch.attacked], generator)
        return with_sequences(batch, sequences)

    @abstractmethod
    def rewrite(
        self, sequences: list[list[int]], block: RankingBlock, generator: np.random.Generator
    ) -> None:
        """Replace some of the token ids of all ``sequences`` of a batch, those of ``block``'s texts."""

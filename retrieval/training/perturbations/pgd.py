"""``pgd``: several steps of gradient ascent on the word embeddings (arXiv 1706.06083)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.config import PerturbationConfig
from retrieval.training.perturbation import Perturbation

if TYPE_CHECKING:
    from retrieval.models.scorer import Scorer
    from retrieval.training.adversary import AttackedBatch, Perturbed


class Pgd(Perturbation):
    """Adds to the word embeddings what raises the loss; a passage's whole offset stays within ``ε``."""

    name = "pgd"
    strength = "epsilon"

    @classmethod
    def gradients(cls, config: PerturbationConfig) -> int:
        """One a step."""
        return config.steps

    def perturbed(self, scorer: Scorer, batch: AttackedBatch) -> Perturbed:
        """The batch with an offset."""
        from retrieval.training.adversary import Adversary, ascend, with_offset

        adversary = Adversary(scorer, batch, self.vocabulary)
        table, steps = scorer.word_table.detach(), self.gradients(self.config)
        offset = ascend(adversary, table, self.config.epsilon, steps)
        return with_offset(batch, offset, adversary.work)

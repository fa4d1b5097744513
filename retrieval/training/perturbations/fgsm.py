"""``fgsm``: one step of gradient ascent on the word embeddings (arXiv 1605.07725)."""

from retrieval.config import PerturbationConfig
from retrieval.training.perturbations.pgd import Pgd


class Fgsm(Pgd):
    """One step: ``ε·g/‖g‖`` of a passage's gradient ``g`` with respect to its word embeddings."""

    name = "fgsm"

    @classmethod
    def gradients(cls, config: PerturbationConfig) -> int:
        """One."""
        return 1

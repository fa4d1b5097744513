"""``noise``: random words in the place of random words, the control of ``substitution``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.config import PerturbationConfig
from retrieval.training.perturbation import Perturbation

if TYPE_CHECKING:
    from retrieval.models.scorer import Scorer
    from retrieval.training.adversary import AttackedBatch, Perturbed


class Noise(Perturbation):
    """Replaces a share ``rate`` of a passage's words."""

    name = "noise"
    strength = "rate"
    replaces_words = True
    one_device = True

    @classmethod
    def gradients(cls, config: PerturbationConfig) -> int:
        """None."""
        return 0

    def perturbed(self, scorer: Scorer, batch: AttackedBatch) -> Perturbed:
        """The batch with other words."""
        import torch

        from retrieval.data.batches import NOISE, step_seed
        from retrieval.models.flops import Work
        from retrieval.training.adversary import most_important, with_words

        tokens = batch.passages.tokens
        device, size = tokens.ids.device, tokens.ids.shape
        generator = torch.Generator(device).manual_seed(step_seed(self.seed, batch.step, NOISE))
        candidates = self.vocabulary.choices
        replaceable = tokens.real & self.vocabulary.replaceable(tokens.ids)
        importance = torch.rand(size, generator=generator, device=device)
        drawn = candidates[torch.randint(len(candidates), size, generator=generator, device=device)]
        chosen = most_important(importance, replaceable, tokens, self.config.rate)
        return with_words(batch, torch.where(chosen, drawn, tokens.ids), Work())

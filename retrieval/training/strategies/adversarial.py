"""``adversarial``: half of the training on passages that are perturbed against the model in training."""

from __future__ import annotations

from retrieval.training.strategies.standard import Standard
from retrieval.training.strategy import PERTURBED, Mixture


class Adversarial(Standard):
    """``½·L(x) + ½·L(x + δ)``: a fixed weight of the perturbed loss (arXiv 2301.10576).

    With ``strategy.mixing=steps`` every second step is one on perturbed passages.
    """

    name = "adversarial"

    @property
    def rob(self) -> Mixture | None:
        """In-domain pairs with perturbed passages."""
        return {PERTURBED: 1.0}

"""``dro``: group DRO on the two losses, each in units of its target."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.training.omega.rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from retrieval.training.omega.state import OmegaState


class Dro(Rule):
    """``logit ω ← logit ω + η·d`` with ``d = R̄/R* − Ē/E*``.

    Exponentiated-gradient ascent on the weights of two losses (group DRO, Sagawa et al. 2020,
    arXiv 1911.08731). The seed paper (arXiv 2505.24279) gives η = 0.1 and says that ω follows the distance to
    the frontier; that it does so by this formula is this project's derivation. It assumes that training
    losses tell how well the model generalises, which fails where pairs are memorised.
    """

    name = "dro"
    follows_losses = True

    def after_step(self, control: OmegaState) -> Tensor:
        """The loss that lags behind its target gains weight."""
        omega = control.omega.to(control.distance.device)
        return (omega.logit() + self.config.eta * control.distance).sigmoid()

"""``linear``: as ``dro``, without the logit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.training.omega.rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from retrieval.training.omega.state import OmegaState


class Linear(Rule):
    """``ω ← ω + η·d`` with ``d = R̄/R* − Ē/E*``: as ``dro``, without the logit. Assumes what ``dro`` does."""

    name = "linear"
    follows_losses = True

    def after_step(self, control: OmegaState) -> Tensor:
        """The loss that lags behind its target gains weight."""
        return control.omega + self.config.eta * control.distance

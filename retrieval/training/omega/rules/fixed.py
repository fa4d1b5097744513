"""``fixed``: ω stays where it is, one point of the trade-off curve."""

from __future__ import annotations

from torch import Tensor

from retrieval.training.omega.rule import Rule
from retrieval.training.omega.state import OmegaState


class Fixed(Rule):
    """``ω_t = strategy.omega``. Assumes that somebody has found the value, on dev metrics of other runs."""

    name = "fixed"
    moves = False

    def after_step(self, control: OmegaState) -> Tensor:
        """ω as it is."""
        return control.omega

"""``gap``: ω from the share of the in-domain pairs that is memorised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from retrieval.training.omega.rule import Rule

if TYPE_CHECKING:
    from torch import Tensor

    from retrieval.training.omega.state import OmegaState

CEILING = 0.5
"""ω where every in-domain pair is memorised."""


class Gap(Rule):
    """``ω = ½·m`` with ``m = 1 − Ē/E_dev``, the share of the in-domain loss that training no longer sees.

    Ē is the moving average of the in-domain training loss; E_dev is the same loss, with as many negatives, on
    dev pairs. Where pairs are still new to the model both agree, m = 0, and every step teaches as much about
    unknown in-domain pairs as it can: ω → 0. Where pairs are memorised m = 1: a further in-domain step has
    next to no gradient, so a robust step costs nothing, and half of the steps go to the robustness data.
    This project's own rule; it assumes that the robustness data teach what memorised pairs no longer do. It
    has nothing to tune and reads no loss on the robustness data.
    """

    name = "gap"
    measures = ("eff",)

    def start(self) -> float:
        """Nothing is memorised before the first step."""
        return 0.0 if self.config.omega is None else float(self.config.omega)

    def after_step(self, control: OmegaState) -> Tensor:
        """ω moves with the measurements."""
        return control.omega

    def after_measurement(self, control: OmegaState) -> Tensor:
        """½·m at the newest measurement."""
        dev = float(control.measured[-1, 2])
        return CEILING * (1 - control.mean_eff / dev).clamp(0.0, 1.0)

"""``guarded``: the ω of ``repeats``, withdrawn once robust-dev losses show that the robustness data harm."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from retrieval.config import StrategyConfig
from retrieval.training.omega.rule import Facts
from retrieval.training.omega.rules.repeats import Repeats

if TYPE_CHECKING:
    from torch import Tensor

    from retrieval.training.omega.state import OmegaState

Floats = NDArray[np.float64]

LEAST_PAIRS = 3
"""Pairs of stretches below which nothing is concluded."""

LEVEL = 0.01
"""Probability of help below which ω is withdrawn; small, because it is looked at after every stretch."""


class Guarded(Repeats):
    """``ω = ½·(1 − D/S)`` until P < .01, then 0; P: that robust steps lower the robust-dev loss more.

    Stretches of ``strategy.measure_every`` steps alternate between twice this ω and none at all, in the order
    high, low, low, high, …, so that a trend of R_dev over the training cancels. Each high stretch gives with
    its low neighbour a difference of gains −Δ ln R_dev, the loss of robust-dev pairs, at a difference of ω.
    P is the one-sided probability by which a t test has the slope of the one over the other above 0. What a
    robust step does at once is less than what it does in the end, so doubt is no reason to withdraw ω; harm
    beyond doubt is. This project's own rule, for robustness data of which nobody knows whether they are near
    enough to the unknown domains. It assumes that robust-dev domains stand for these.
    """

    name = "guarded"
    measures = ("rob",)

    def __init__(self, config: StrategyConfig, facts: Facts) -> None:
        super().__init__(config, facts)
        self.help = 1.0
        """P at the latest stretch, or at the one that decided."""
        self.stretches: list[list[float]] = []
        """ω and −Δ ln R_dev of every stretch but the first, which has no measurement before it."""

    @property
    def withdrawn(self) -> bool:
        """Whether ω is 0 for the rest of the training."""
        return self.help < LEVEL

    def after_measurement(self, control: OmegaState) -> Tensor | float:
        """Close a stretch, and open the next one."""
        if len(control.measured) > 1 and not self.withdrawn:
            before, after = control.measured[-2:, 3].log().tolist()
            self.stretches.append([float(control.measured[-1, 1]), before - after])
            self.help = probability(*self.contrasts())
        share = 2.0 if high(len(self.stretches)) else 0.0
        return 0.0 if self.withdrawn else share * self.start()

    def contrasts(self) -> tuple[Floats, Floats]:
        """Of each pair of stretches the difference of ω and of gain, both float64[k]."""
        pairs = len(self.stretches) // 2
        values = np.array(self.stretches[: 2 * pairs], dtype=np.float64).reshape(pairs, 2, 2)
        signs = np.array([1.0 if high(2 * place) else -1.0 for place in range(pairs)])
        differences = signs[:, None] * (values[:, 0] - values[:, 1])
        return differences[:, 0], differences[:, 1]

    def result(self) -> dict[str, Any]:
        """Probability that the robustness data help."""
        return super().result() | {"omega/help": self.help}

    def findings(self) -> list[tuple[str, str]]:
        """That the robustness data are of no help here."""
        if not self.withdrawn:
            return super().findings()
        omegas, gains = self.contrasts()
        slope = float(omegas @ gains / (omegas @ omegas))
        every = self.config.measure_every
        message = (
            f"{every} steps on the robustness data in place of in-domain steps change the robust-dev loss by "
            f"{-100 * slope:+.1f} % ({len(gains)} pairs of stretches, p = {self.help:.2g}), so ω was "
            "withdrawn"
        )
        return [("ROBUST_DATA_NO_HELP", message)]

    def state_dict(self) -> dict[str, Any]:
        """What was seen of the stretches."""
        return {"help": self.help, "stretches": [list(stretch) for stretch in self.stretches]}


def high(place: int) -> bool:
    """Whether the stretch at ``place`` is one of more robust steps: high, low, low, high, and again."""
    return place % 4 in (0, 3)


def probability(omegas: Floats, gains: Floats) -> float:
    """One-sided p of a t test that the slope of gains over ω, through 0, is above 0; 1 for too few.

    ``omegas``, ``gains``: differences of a pair of stretches, float64[k].
    """
    squares = float(omegas @ omegas)
    if len(gains) < LEAST_PAIRS or squares == 0:
        return 1.0
    slope = float(omegas @ gains) / squares
    freedom = len(gains) - 1
    spread = math.sqrt(float(np.square(gains - slope * omegas).sum()) / freedom / squares)
    if spread == 0:
        return 1.0 if slope >= 0 else 0.0
    from scipy import stats

    return float(stats.t.cdf(slope / spread, freedom))

"""``dev``: ω climbs by what dev losses gain in stretches of more and of fewer robust steps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from retrieval.training.omega.rule import Rule

if TYPE_CHECKING:
    from retrieval.training.omega.state import OmegaState

STRIDE = 0.5
"""Step of logit ω after each pair of stretches."""

SPREAD = 0.5
"""Logit ω of a stretch is that of the centre ± this."""


class Dev(Rule):
    """Sign ascent on the gain of dev hypervolume: stretches of ω above and below a centre alternate.

    A stretch lasts ``strategy.measure_every`` steps and gains ``−Δ(ln E_dev + ln R_dev)``, the logarithmic
    growth of the area that the dev losses leave. After each pair of stretches the logit of the centre moves
    by ½ towards the stretch that gained more. The idea of probing mixtures by falls of dev losses is Aioli's
    (arXiv 2411.05735). It assumes that what a robust step does to dev losses shows within a stretch, which
    fails where pairs are memorised: there it costs at once and repays later.
    """

    name = "dev"
    measures = ("eff", "rob")

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]
        self.centre = math.nan
        self.gains: list[float] = []
        """Gain of the first stretch of an open pair."""

    def after_measurement(self, control: OmegaState) -> float:
        """Close a stretch, move the centre after a second one, and open the next."""
        if math.isnan(self.centre):
            self.centre = float(control.omega.clamp(1e-4, 1 - 1e-4).logit())
            return self._stretch(above=True)
        before, after = control.measured[-2:, 2:4].log().sum(dim=1).tolist()
        self.gains.append(before - after)
        if len(self.gains) < 2:
            return self._stretch(above=False)
        above, below = self.gains
        self.gains = []
        lower, upper = (math.log(x / (1 - x)) for x in control.bounds)
        moved = self.centre + STRIDE * math.copysign(1.0, above - below)
        self.centre = min(max(moved, lower), upper)
        return self._stretch(above=True)

    def _stretch(self, above: bool) -> float:
        return 1 / (1 + math.exp(-(self.centre + (SPREAD if above else -SPREAD))))

    def state_dict(self) -> dict[str, object]:
        """The centre and the open pair of stretches."""
        return {"centre": self.centre, "gains": list(self.gains)}

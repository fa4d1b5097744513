"""The additive law of language models."""

from collections.abc import Sequence

import numpy as np

from sweeps.fitting.laws import register
from sweeps.fitting.laws.base import Centre, Floats
from sweeps.fitting.laws.power import DATA_TERM, MODEL_TERM, PowerLaw


@register
class Additive(PowerLaw):
    """``A/N^α + B/D^β + δ``, Hoffmann et al. 2022 (arXiv 2203.15556) eq 2: scales outside the powers."""

    stem = "additive"
    text = "A/N^α + B/D^β"
    about = "the additive law of Hoffmann et al. 2022, eq 2, in N and D"
    terms = (MODEL_TERM, DATA_TERM)

    def combine(self, logs: Sequence[Floats], centred: Floats) -> tuple[Floats, Sequence[Floats]]:
        """The sum of the terms."""
        total = np.logaddexp(logs[0], logs[1])
        return np.exp(total), [logs[0] - total, logs[1] - total]

    def weight(self, power: Floats) -> Floats:
        """A term is proportional to its scale."""
        return np.ones_like(power)

    def held_scale_slope(self, centred: Floats, scale: int, centre: Centre) -> Floats:
        """d (ln A − α·ln N) / d ln α at the centre."""
        return -np.exp(centred[:, scale + 1]) * centre.of(self.kinds[scale].axis)

    def solve(self, params: Floats, excess: Floats, axis: str, other: Floats) -> Floats:
        """x less the other term, solved for N or D; ``inf`` where the other term alone is larger."""
        own, far = (0, 2) if axis == "N" else (2, 0)
        left = excess - params[..., far] / other ** params[..., far + 1]
        amount = (params[..., own] / np.maximum(left, 0.0)) ** (1 / params[..., own + 1])
        return np.where(left > 0, amount, np.inf)

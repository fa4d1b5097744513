"""The joint law of dense retrieval."""

from collections.abc import Sequence

import numpy as np

from sweeps.fitting.laws import register
from sweeps.fitting.laws.base import Floats
from sweeps.fitting.laws.power import DATA_TERM, MODEL_TERM, PowerLaw


@register
class Joint(PowerLaw):
    """``[(A/N)^{α/β} + B/D]^β + δ``, arXiv 2403.18684 eq 9; x = [exp(t_N/β) + exp(t_D/β)]^β."""

    stem = "joint"
    text = "[(A/N)^{α/β} + B/D]^β"
    about = "the joint law of arXiv 2403.18684, eq 9, in N and D"
    terms = (MODEL_TERM, DATA_TERM)

    def combine(self, logs: Sequence[Floats], centred: Floats) -> tuple[Floats, Sequence[Floats]]:
        """x by logarithms of sums, so that no term over- or underflows."""
        power = np.exp(centred[:, 3, None])
        first, second = logs[0] / power, logs[1] / power
        total = np.logaddexp(first, second)
        return np.exp(power * total), [first - total, second - total]

    def complete(self, jac: Floats, centred: Floats, shares: Sequence[Floats], x: Floats, v: Floats) -> None:
        """d/dβ [β·ln(p + q)] with p = exp(t_N/β), q = exp(t_D/β) is the entropy of their shares."""
        entropy = sum(np.exp(share) * -share for share in shares)
        jac[:, :, 3] += x * entropy * np.exp(centred[:, 3, None])

    def solve(self, params: Floats, excess: Floats, axis: str, other: Floats) -> Floats:
        """x^{1/β} less the other term, solved for N or D; ``inf`` where the other term alone is larger."""
        a, alpha, b, beta = (params[..., place] for place in range(4))
        power = alpha / beta
        total = excess ** (1 / beta)
        left = total - (b / other if axis == "N" else (a / other) ** power)
        amount = a * left ** (-1 / power) if axis == "N" else b / left
        return np.where(left > 0, amount, np.inf)

    def grids(self, side: int) -> list[Floats]:
        """Exponents, and the logarithm of the ratio of the terms at the centre."""
        return [*super().grids(side), np.linspace(-2.5, 2.5, side)]

    def reducible_columns(self, outer: Floats, u: Floats, v: Floats) -> list[Floats]:
        """The whole of x: given exponents and the ratio of the terms it has one scale."""
        logs, half, beta = self.term_logs(outer, u, v), outer[-1] / 2, np.exp(outer[1])
        return [np.exp(beta * np.logaddexp((logs[0] + half) / beta, (logs[1] - half) / beta))]

    def scales(self, outer: Floats, linear: Floats, smallest: float) -> list[float]:
        """The one scale, apart by the ratio of the terms."""
        scale = float(np.log(max(linear[0], smallest)))
        return [scale + outer[-1] / 2, scale - outer[-1] / 2]

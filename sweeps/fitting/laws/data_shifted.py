"""The law in data alone for a model that is worth some data before it sees any."""

from collections.abc import Sequence

import numpy as np

from sweeps.fitting.laws import register
from sweeps.fitting.laws.base import Floats, Law, Parameter
from sweeps.fitting.laws.power import DATA_TERM, Floor
from sweeps.fitting.laws.single import SingleTerm


@register
class DataShifted(SingleTerm):
    """``(B/(D + D0))^β + δ``: arXiv 2403.18684 eq 7 with D0, the pairs that pretraining is worth."""

    stem = "data-shifted"
    text = "(B/(D+D0))^β"
    about = "the law in D alone, shifted by the pairs D0 that pretraining is worth"
    terms = (DATA_TERM,)
    more = (Parameter("D0", "shift", "D"),)

    @classmethod
    def forms(cls) -> Sequence[Law]:
        """The form with a floor only: without one the shift takes its place."""
        return [cls(Floor())]

    def sizes(self, shift: Floats, u: Floats, v: Floats) -> list[Floats]:
        """ln(D + D0), about the centre."""
        return [np.log(np.exp(v) + shift)]

    def complete(self, jac: Floats, centred: Floats, shares: Sequence[Floats], x: Floats, v: Floats) -> None:
        """d x / d D0 = −x·β/(D + D0)."""
        jac[:, :, 2] = -x * np.exp(centred[:, 1, None]) / (np.exp(v)[None, :] + centred[:, 2, None])

    def solve(self, params: Floats, excess: Floats, axis: str, other: Floats) -> Floats:
        """D of the plain data law less D0, and 0 where D0 alone suffices."""
        return np.maximum(super().solve(params, excess, axis, other) - params[..., 2], 0.0)

    def grids(self, side: int) -> list[Floats]:
        """Exponents, and D0 from a hundredth to a hundred times the geometric mean of D."""
        return [*super().grids(side), np.geomspace(1e-2, 1e2, side)]

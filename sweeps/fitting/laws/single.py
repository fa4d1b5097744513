"""The laws in one axis alone: in model size and in data."""

from collections.abc import Sequence

import numpy as np

from sweeps.fitting.laws import register
from sweeps.fitting.laws.base import Floats
from sweeps.fitting.laws.power import DATA_TERM, MODEL_TERM, PowerLaw


class SingleTerm(PowerLaw):
    """One term alone."""

    def combine(self, logs: Sequence[Floats], centred: Floats) -> tuple[Floats, Sequence[Floats]]:
        """The term itself, whose share is 1."""
        return np.exp(logs[0]), [np.zeros_like(logs[0])]

    def solve(self, params: Floats, excess: Floats, axis: str, other: Floats) -> Floats:
        """x = (A/N)^α solved for N."""
        return np.asarray(params[..., 0] * excess ** (-1 / params[..., 1]))


@register
class Model(SingleTerm):
    """``(A/N)^α + δ``, arXiv 2403.18684 eq 6."""

    stem = "model"
    text = "(A/N)^α"
    about = "the law in N alone of arXiv 2403.18684, eq 6"
    terms = (MODEL_TERM,)


@register
class Data(SingleTerm):
    """``(B/D)^β + δ``, arXiv 2403.18684 eq 7."""

    stem = "data"
    text = "(B/D)^β"
    about = "the law in D alone of arXiv 2403.18684, eq 7"
    terms = (DATA_TERM,)

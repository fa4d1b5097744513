"""What a form adds to its reducible part: a floor, nothing, or a floor and saturation at chance level."""

from __future__ import annotations

import numpy as np

from sweeps.fitting.laws.base import Parameter
from sweeps.fitting.laws.coordinates import Floats


class Floor:
    """``x + δ`` for a reducible part x."""

    suffix = ""
    parameters: tuple[Parameter, ...] = (Parameter("delta", "floor"),)
    needs_chance = False
    words = ""

    def formula(self, text: str) -> str:
        """Formula of the metric, given the reducible part's."""
        return f"{text} + δ"

    def above(self, centred: Floats, x: Floats, jac: Floats, chance: float | None) -> tuple[Floats, Floats]:
        """Metric [r, k] of the reducible part, and its Jacobian [r, k, p] from that of the reducible part."""
        if jac.shape[2]:
            jac[:, :, -1] = 1.0
        return x + centred[:, -1, None], jac

    def reducible(self, params: Floats, target: Floats, chance: float | None) -> Floats:
        """Reducible part at which the metric is ``target``, for published parameters [..., p]."""
        return target - params[..., -1]


class NoFloor(Floor):
    """``x`` itself: the metric falls to 0."""

    suffix = "-no-floor"
    parameters = ()
    words = ", without a floor"

    def formula(self, text: str) -> str:
        """Formula of the metric, given the reducible part's."""
        return text

    def above(self, centred: Floats, x: Floats, jac: Floats, chance: float | None) -> tuple[Floats, Floats]:
        """The reducible part as it is."""
        return x, jac

    def reducible(self, params: Floats, target: Floats, chance: float | None) -> Floats:
        """The target itself."""
        return target - np.zeros(params.shape[:-1])


class Bounded(Floor):
    """``δ + x·c/(x + c)``, ``c = chance − δ``: the metric saturates at a known chance level.

    Far below that level it equals the form with a floor.
    """

    suffix = "-bounded"
    needs_chance = True
    words = ", saturating at the chance level"

    def formula(self, text: str) -> str:
        """Formula of the metric, given the reducible part's."""
        return f"δ + x·c/(x+c), x = {text}, c = chance − δ"

    def above(self, centred: Floats, x: Floats, jac: Floats, chance: float | None) -> tuple[Floats, Floats]:
        """Metric and Jacobian, the latter scaled by d metric / d x."""
        delta = centred[:, -1, None]
        assert chance is not None  # the law has checked
        room = np.maximum(chance - delta, 1e-12)
        kept = room / (x + room)
        if jac.shape[2]:
            jac *= (kept**2)[:, :, None]
            jac[:, :, -1] = 1.0 - (1.0 - kept) ** 2
        return delta + x * kept, jac

    def reducible(self, params: Floats, target: Floats, chance: float | None) -> Floats:
        """y = x·c/(x + c) solved for x; at chance level and above every amount suffices."""
        assert chance is not None  # the law has checked
        floor = params[..., -1]
        excess, room = target - floor, chance - floor
        return np.where(excess < room, excess * room / np.maximum(room - excess, 1e-300), np.inf)


FLOORS: tuple[Floor, ...] = (Floor(), NoFloor(), Bounded())
"""The variants of every form, in the order in which they are registered."""


def chance_level(negatives: int) -> float:
    """Contrastive entropy of constant scores against W random negatives: ln(W + 1)."""
    return float(np.log(negatives + 1))

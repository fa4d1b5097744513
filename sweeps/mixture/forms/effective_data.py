"""Effective data: each loss sees its share of the pairs, repeated pairs count less, both counts add up.

With T pairs seen in all, the loss on in-domain pairs sees (1−ω)·T of them, the robust one ω·T. Of S pairs
seen from D different ones, U = min(D, S) are new and each is repeated R = S/U − 1 times, which is worth
``U + U·ρ·(1 − exp(−R/ρ))`` new ones (Muennighoff et al. 2023, arXiv 2305.16264, eq 5; ρ is their R*).
A robust pair is worth k in-domain ones, up to about S0 of them: ``k·S0·(1 − exp(−ωT/S0))``, the same
saturation for a pool whose size the table does not state. The sum takes the place of D in the scaling law.
So the best ω falls as D grows: with few pairs the in-domain count is saturated and ω costs nothing, with
many every in-domain pair left out was a new one.
"""

from dataclasses import dataclass

import numpy as np

from sweeps.fitting.laws import Floats
from sweeps.mixture.forms import base
from sweeps.mixture.forms.base import Form, Inputs, Parameter

_PLACES = (0, 1, 5, 6)
_REPEAT, _WORTH, _POOL = 2, 3, 4

_PARAMETERS = (
    base.DATA_TERM,
    base.BETA,
    # With one D, ρ and k say the same: how much of the sum is robust data.
    Parameter("repetition", np.log(0.02), np.log(200.0), (np.log(0.3), np.log(15.0)), axis="D"),
    Parameter("worth", np.log(1e-4), np.log(1e4), (np.log(0.05), np.log(4.0))),
    # In units of the pairs seen.
    Parameter("pool", np.log(1e-3), np.log(50.0), (np.log(0.04), np.log(1.0))),
    base.MODEL_TERM,
    base.ALPHA,
)
_TRANSFER = Parameter("kappa", -3.0, 3.0, (-0.5, 0.5), axis="N")


@dataclass(frozen=True)
class EffectiveData:
    """The functions of one variant."""

    floor: bool = False
    transfer: bool = False
    """Whether the worth of a robust pair changes with model size as (N/N0)^κ."""
    smooth: bool = False
    """Harmonic counts, S·ρD/(S + ρD), that bend from the first pair on instead of after one pass."""

    def values(self, theta: Floats, inputs: Inputs) -> Floats:
        """The metric [r, k]."""
        x = base.power_law(theta, inputs, np.log(self.data(theta, inputs) / inputs.d0), _PLACES)
        return x + theta[:, -1, None] if self.floor else x

    def data(self, theta: Floats, inputs: Inputs) -> Floats:
        """Effective in-domain pairs [r, k]."""
        repeat, worth, pool = (np.exp(theta[:, place, None]) for place in (_REPEAT, _WORTH, _POOL))
        robust = inputs.omega[None, :] * inputs.seen
        own = (1.0 - inputs.omega[None, :]) * inputs.seen
        room = pool * inputs.seen
        if self.transfer:
            worth = worth * (inputs.n / inputs.n0)[None, :] ** theta[:, -1, None]
        if self.smooth:
            most = repeat * inputs.d[None, :]
            return own * most / (own + most) + worth * robust * room / (robust + room)
        new = np.minimum(own, inputs.d[None, :])
        again = own / np.maximum(new, 1e-300) - 1.0
        total = new * (1.0 - repeat * np.expm1(-again / repeat)) - worth * room * np.expm1(-robust / room)
        return total

    def publish(self, theta: Floats, inputs: Inputs) -> dict[str, Floats]:
        """B, β, ρ, k, S0 [pairs], and A, α, κ, δ where they are fitted."""
        found = base.published_power_law(theta, inputs, _PLACES)
        found["rho"], found["k"] = np.exp(theta[:, _REPEAT]), np.exp(theta[:, _WORTH])
        found["S0"] = np.exp(theta[:, _POOL]) * inputs.seen
        if self.transfer:
            found |= {"kappa": theta[:, -1], "N0": np.full(len(theta), inputs.n0)}
        if self.floor:
            found["delta"] = theta[:, -1]
        return found

    def project(self, theta: Floats, inputs: Inputs, log_y: Floats) -> Floats:
        """Starts whose data term gives the mean of ln metric; floor and model term from the level of it."""
        theta = theta.copy()
        level = float(np.exp(log_y.min()))
        if self.floor:
            theta[:, -1] *= level
        if inputs.levels("N") > 1:
            theta[:, _PLACES[2]] += np.log(level)
        log_data = np.log(self.data(theta, inputs) / inputs.d0)
        theta[:, 0] = (log_y[None, :] + np.exp(theta[:, 1, None]) * log_data).mean(axis=1)
        return theta


_OWN = "U + U·ρ·(1−exp(−R/ρ)), U = min(D, (1−ω)T), R = (1−ω)T/U − 1"
_ROBUST = "S0·(1−exp(−ωT/S0))"


_SOURCE = "arXiv 2305.16264 eq 5 (repetition), arXiv 2403.18684 eq 9 (N and D); the sum is this project's"


def _form(suffix: str, variant: EffectiveData, needs: str = "") -> Form:
    own, robust = ("ρD·(1−ω)T/((1−ω)T + ρD)", "S0·ωT/(ωT + S0)") if variant.smooth else (f"[{_OWN}]", _ROBUST)
    worth = "k·(N/N0)^κ" if variant.transfer else "k"
    tail = " + δ" if variant.floor else ""
    formula = f"[(A/N)^{{α/β}} + B/x]^β{tail}, x = {own} + {worth}·{robust}"
    parameters = (*_PARAMETERS, *[base.FLOOR] * variant.floor, *[_TRANSFER] * variant.transfer)
    functions = (variant.values, variant.publish, variant.project)
    return Form(f"effective-data{suffix}", formula, _SOURCE, parameters, *functions, needs)


FORMS = (
    _form("", EffectiveData()),
    _form("-floor", EffectiveData(floor=True), needs="delta"),
    _form("-smooth", EffectiveData(smooth=True)),
    _form("-transfer", EffectiveData(transfer=True), needs="kappa"),
)

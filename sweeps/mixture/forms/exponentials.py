"""Data-mixing-law exponentials: the loss falls and rises exponentially with the share of each kind of data.

Ye et al. (arXiv 2403.16952, eq 1) write the loss on one domain as ``c + k·exp(t·r)`` in the shares r, and
the loss on a mixture of domains as a sum of these. One exponential is monotone in ω; the sum of a falling
and a rising one is not. D and N enter through the term that more data lowers, as in the scaling law.
"""

import numpy as np

from sweeps.fitting.laws import Floats
from sweeps.mixture.forms import base
from sweeps.mixture.forms.base import Form, Inputs, Parameter

_PLACES = (0, 1, 2, 3)


def _values(theta: Floats, inputs: Inputs) -> Floats:
    share, fall, cost, rise, floor = (theta[:, place, None] for place in range(4, 9))
    omega = inputs.omega[None, :]
    log_data = np.broadcast_to(np.log(inputs.d / inputs.d0)[None, :], (len(theta), len(inputs.d)))
    x = base.power_law(theta, inputs, log_data, _PLACES)
    falling = 1.0 + share * np.expm1(-np.exp(fall) * omega)
    return np.asarray(floor + x * falling + np.exp(cost) * np.expm1(np.exp(rise) * omega))


def _publish(theta: Floats, inputs: Inputs) -> dict[str, Floats]:
    found = base.published_power_law(theta, inputs, _PLACES)
    found |= {"s": theta[:, 4], "delta": theta[:, 8]}
    found |= {"t": np.exp(theta[:, 5]), "c": np.exp(theta[:, 6]), "u": np.exp(theta[:, 7])}
    return found


def _project(theta: Floats, inputs: Inputs, log_y: Floats) -> Floats:
    theta = theta.copy()
    level = float(np.exp(log_y.min()))
    theta[:, 8] *= level
    if inputs.levels("N") > 1:
        theta[:, 2] += np.log(level)
    left = np.log(np.maximum(np.exp(log_y)[None, :] - theta[:, 8, None], 0.05 * level))
    theta[:, 0] = (left + np.exp(theta[:, 1, None]) * np.log(inputs.d / inputs.d0)).mean(axis=1)
    return theta


FORMS = (
    Form(
        "exponentials",
        "[(A/N)^{α/β} + B/D]^β·(1 − s + s·exp(−tω)) + c·(exp(uω) − 1) + δ",
        "arXiv 2403.16952 eq 1, summed over the two kinds of data; arXiv 2403.18684 eq 9 for N and D",
        (
            base.DATA_TERM,
            base.BETA,
            base.MODEL_TERM,
            base.ALPHA,
            Parameter("s", 0.0, 1.0, (0.05, 0.7)),
            Parameter("t", np.log(0.05), np.log(200.0), (np.log(1.0), np.log(20.0))),
            Parameter("c", np.log(1e-8), np.log(100.0), (np.log(1e-3), np.log(0.5))),
            Parameter("u", np.log(0.02), np.log(15.0), (np.log(0.3), np.log(5.0))),
            base.FLOOR,
        ),
        _values,
        _publish,
        _project,
    ),
)

"""The best ω of a fitted mixture law, and its own law: logit ω*(N, D) = a + b·ln D + c·ln N.

Three goals. ``eff`` minimises E, ``rob`` minimises R, and ``knee`` minimises E + R: both in nats, both
counting the same. The knee is *not* the point of the front farthest from its chord (the rule of
``sweeps frontier``): where the front is short, its ends are two nearly equal optima, and a chord between
them is ill-conditioned. The minimum of the sum is on the front too, and stays well defined.
"""

import numpy as np

from sweeps.fitting.bootstrap import interval
from sweeps.fitting.laws import Floats
from sweeps.mixture.record import FittedRange, Omega, Optimum
from sweeps.mixture.surface import Draws, Surface, Theta

GOALS = ("knee", "eff", "rob")

EDGE = 0.005
"""ω* is clipped to [EDGE, 1 − EDGE] before its logit is taken: 0 and 1 are legitimate optima."""

_ANGLE = np.linspace(0.0, np.pi / 2, 241)
_OMEGA = np.sin(_ANGLE) ** 2
"""Grid for ω, dense at both ends."""

_SIDE = 7
"""Points of an axis at which the law of the optimum is fitted, evenly spaced in ln N and ln D."""

_CHUNK = 2_000_000


def best_omega(surface: Surface, n: Floats, d: Floats, theta: Theta | None = None) -> dict[str, Floats]:
    """ω* of each goal at the points (N, D) [k] for each of r parameter sets: goal → [r, k].

    A grid dense at both ends, refined by the parabola through the best three points.
    """
    theta = theta or surface.theta
    rows, points = len(theta[0]), len(n)
    found = {goal: np.empty((rows, points)) for goal in GOALS}
    step = max(1, _CHUNK // (len(_OMEGA) * points))
    inputs = surface.sample.inputs.at(
        np.tile(_OMEGA, points), np.repeat(n, len(_OMEGA)), np.repeat(d, len(_OMEGA))
    )
    for begin in range(0, rows, step):
        part = slice(begin, begin + step)
        with np.errstate(all="ignore"):
            eff, rob = surface.values(inputs, (theta[0][part], theta[1][part]))
        for goal, values in {"knee": eff + rob, "eff": eff, "rob": rob}.items():
            found[goal][part] = _minimum(values.reshape(-1, points, len(_OMEGA)))
    return found


def drawn_omega(draws: Draws, n: Floats, d: Floats) -> dict[str, Floats]:
    """ω* of each goal at the points (N, D) [k] for every draw: goal → [r, k]."""
    parts = [best_omega(surface, n, d, theta) for surface, theta in draws]
    return {goal: np.concatenate([part[goal] for part in parts]) for goal in GOALS}


def optima(surface: Surface, draws: Draws, n: Floats, d: Floats, level: float) -> list[dict[str, Omega]]:
    """ω* of each goal at the points (N, D) [k], with percentile intervals over the draws."""
    own, drawn = best_omega(surface, n, d), drawn_omega(draws, n, d)
    parts = {goal: np.stack([own[goal][0], *interval(drawn[goal], level)], axis=1) for goal in GOALS}
    return [{goal: Omega(*parts[goal][place].tolist()) for goal in GOALS} for place in range(len(n))]


def _minimum(values: Floats) -> Floats:
    """Position ω of the least of ``values`` [..., grid]."""
    values = np.where(np.isfinite(values), values, np.inf)
    best = values.argmin(axis=-1)
    inner = np.clip(best, 1, len(_OMEGA) - 2)
    left, middle, right = (np.take_along_axis(values, (inner + k)[..., None], -1)[..., 0] for k in (-1, 0, 1))
    with np.errstate(all="ignore"):
        shift = 0.5 * (left - right) / (left - 2 * middle + right)
    use = (best == inner) & np.isfinite(shift)
    angle = _ANGLE[best] + np.where(use, np.clip(shift, -0.5, 0.5), 0.0) * (_ANGLE[1] - _ANGLE[0])
    return np.asarray(np.sin(angle) ** 2)


def logit(omega: Floats) -> Floats:
    """ln(ω/(1 − ω)) of ω clipped to [EDGE, 1 − EDGE]."""
    kept = np.clip(omega, EDGE, 1 - EDGE)
    return np.log(kept / (1 - kept))


def logits(coefficients: Floats, n: Floats, d: Floats) -> Floats:
    """a + b·ln D + c·ln N [..., k] of coefficients [..., 3] at (N, D) [k]."""
    return np.asarray(coefficients @ np.stack([np.ones_like(d), np.log(d), np.log(n)]))


def omega_of(logits: Floats) -> Floats:
    """ω of its logits, clipped to [EDGE, 1 − EDGE]."""
    return np.clip(1 / (1 + np.exp(-logits)), EDGE, 1 - EDGE)


def optimum_laws(surface: Surface, draws: Draws, level: float) -> dict[str, Optimum]:
    """The law of each goal's optimum, least squares over a grid of the fitted range of ln N and ln D."""
    inputs = surface.sample.inputs
    n, d = (part.ravel() for part in np.meshgrid(_axis(inputs.n), _axis(inputs.d), indexing="ij"))
    own, drawn = best_omega(surface, n, d), drawn_omega(draws, n, d)
    names = ("intercept", "ln_train_pairs", "ln_params_non_embedding")
    laws = {}
    for goal in GOALS:
        best, coefficients = own[goal][0], _coefficients(own[goal], n, d)[0]
        redrawn = _coefficients(drawn[goal], n, d)
        low, high = interval(redrawn, level)
        missed = np.abs(omega_of(logits(coefficients, n, d)) - np.clip(best, EDGE, 1 - EDGE))
        laws[goal] = Optimum(
            **dict(zip(names, coefficients.tolist())),
            low=dict(zip(names, low.tolist())),
            high=dict(zip(names, high.tolist())),
            draws=redrawn.tolist(),
            max_error=float(missed.max()),
            clipped=bool(((best < EDGE) | (best > 1 - EDGE)).any()),
            one_level=[axis for axis in ("D", "N") if inputs.levels(axis) == 1],
            range=FittedRange(*([float(size.min()), float(size.max())] for size in (inputs.n, inputs.d))),
        )
    return laws


def _coefficients(omega: Floats, n: Floats, d: Floats) -> Floats:
    """a, b, c [r, 3] of ω [r, g] at the points (N, D) [g].

    Least squares of the logits, weighted by (dω/d logit)² = (ω(1 − ω))², so that what is small is the error
    of ω and not that of a logit near 0 or 1.
    """
    kept = [0, *(place for place, values in ((1, d), (2, n)) if len(np.unique(values)) > 1)]
    columns = np.stack([np.ones_like(d), np.log(d), np.log(n)])[kept]
    centre = np.where(np.array(kept) > 0, columns.mean(axis=1), 0.0)
    columns = columns - centre[:, None]
    near = np.clip(omega, EDGE, 1 - EDGE)
    weight = (near * (1 - near)) ** 2
    system = np.einsum("rg,pg,qg->rpq", weight, columns, columns)
    right = np.einsum("rg,pg,rg->rp", weight, columns, logit(omega))
    solution = np.zeros((len(omega), 3))
    solution[:, kept] = np.linalg.solve(system, right[:, :, None])[:, :, 0]
    solution[:, 0] -= solution[:, kept] @ centre
    return solution


def _axis(values: Floats) -> Floats:
    if values.max() <= values.min() * (1 + 1e-9):
        return values[:1]
    return np.geomspace(values.min(), values.max(), _SIDE)

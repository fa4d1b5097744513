"""Quadratics in a transformed ω: the response surface of Box and Wilson (1951) in ln metric.

The bottom of the parabola moves with ln D and ln N. Two transformations make the first bit of ω count more
than the last: √ω and ln(1 + ω/ε). ε is fixed, because three to five values of ω do not determine it.
"""

from collections.abc import Callable
from functools import partial

import numpy as np

from sweeps.fitting.laws import Floats
from sweeps.mixture.forms.base import Form, Inputs, Parameter

EPSILON = 0.05
"""Half of the smallest ω that sweeps try."""

Transform = Callable[[Floats], Floats]

_NAMES = ("a", "a_D", "a_DD", "a_N", "b", "b_D", "b_N", "c")
_AXES = {"a_D": ("D", 2), "a_DD": ("D", 3), "a_N": ("N", 2), "b_D": ("D", 2), "b_N": ("N", 2)}


def _columns(transform: Transform, inputs: Inputs) -> Floats:
    z = transform(inputs.omega)
    x, n = np.log(inputs.d / inputs.d0), np.log(inputs.n / inputs.n0)
    return np.stack([np.ones_like(z), x, x * x, n, z, x * z, n * z, z * z])


def _values(transform: Transform, theta: Floats, inputs: Inputs) -> Floats:
    return np.exp(np.clip(theta @ _columns(transform, inputs), -50.0, 50.0))


def _publish(theta: Floats, inputs: Inputs) -> dict[str, Floats]:
    found = {name: theta[:, place] for place, name in enumerate(_NAMES) if _kept(name, inputs)}
    return found | {"D0": np.full(len(theta), inputs.d0), "N0": np.full(len(theta), inputs.n0)}


def _kept(name: str, inputs: Inputs) -> bool:
    axis, levels = _AXES.get(name, ("", 0))
    return not axis or inputs.levels(axis) >= levels


def _project(transform: Transform, theta: Floats, inputs: Inputs, log_y: Floats) -> Floats:
    """The form is linear, so one start is enough: least squares."""
    free = np.array([_kept(name, inputs) for name in _NAMES])
    solution = np.zeros(len(_NAMES))
    solution[free] = np.linalg.lstsq(_columns(transform, inputs)[free].T, log_y, rcond=None)[0]
    return np.broadcast_to(solution, theta.shape).copy()


def _logarithm(omega: Floats) -> Floats:
    return np.log1p(omega / EPSILON)


def _form(name: str, transform: Transform, z: str) -> Form:
    parameters = tuple(Parameter(key, -100.0, 100.0, (0.0, 0.0), *_AXES.get(key, ("", 0))) for key in _NAMES)
    formula = f"ln y = a + a_D·x + a_DD·x² + a_N·n + (b + b_D·x + b_N·n)·z + c·z², z = {z}"
    formula += ", x = ln(D/D0), n = ln(N/N0)"
    source = "Box and Wilson 1951"
    values, project = partial(_values, transform), partial(_project, transform)
    return Form(name, formula, source, parameters, values, _publish, project)


FORMS = (
    _form("quadratic-sqrt", np.sqrt, "√ω"),
    _form("quadratic-log", _logarithm, f"ln(1 + ω/{EPSILON:g})"),
)

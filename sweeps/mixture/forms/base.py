"""What a form of the mixture law is: parameters with limits and starts, and values over arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from sweeps.fitting.laws import Floats


@dataclass(frozen=True)
class Inputs:
    """Where a form is evaluated; arrays are [k] and belong together."""

    omega: Floats
    """Weight of the robustness loss, which is also its share of the training pairs."""
    n: Floats
    """Parameters outside embeddings."""
    d: Floats
    """In-domain training pairs available."""
    seen: float
    """Pairs seen by both losses together: steps × pairs a step."""
    n0: float = 1.0
    """Geometric mean of N over the table: the unit in which forms are searched, for good conditioning."""
    d0: float = 1.0
    """Geometric mean of D over the table."""

    def at(self, omega: Floats, n: Floats, d: Floats) -> Inputs:
        """The same table's conditions at other points; the arrays broadcast against each other."""
        omega, n, d = (np.array(part, dtype=np.float64) for part in np.broadcast_arrays(omega, n, d))
        return replace(self, omega=omega, n=n, d=d)

    def levels(self, axis: str) -> int:
        """Number of distinct values of ``N`` or ``D``."""
        return len(np.unique(self.n if axis == "N" else self.d))


@dataclass(frozen=True)
class Parameter:
    """One number to search for, in the form's own (mostly logarithmic) coordinates."""

    name: str
    low: float
    high: float
    start: tuple[float, float]
    """Starts are spread over this range."""
    axis: str = ""
    """``N`` or ``D`` where only a table that varies it determines the parameter."""
    levels: int = 2
    """So many levels of ``axis`` are needed; with fewer the parameter keeps ``frozen``."""
    frozen: float = 0.0

    def free(self, inputs: Inputs) -> bool:
        """Whether a table with these inputs determines the parameter."""
        return not self.axis or inputs.levels(self.axis) >= self.levels


@dataclass(frozen=True)
class Form:
    """One candidate. All arrays of parameters are [r, p] in the order of ``parameters``."""

    name: str
    formula: str
    source: str
    parameters: tuple[Parameter, ...]
    values: Callable[[Floats, Inputs], Floats]
    """(parameters [r, p], inputs [k]) → the metric [r, k]; not positive or not finite outside its domain."""
    publish: Callable[[Floats, Inputs], dict[str, Floats]]
    """(parameters [r, p], inputs) → the numbers of ``formula`` by name, each [r]."""
    project: Callable[[Floats, Inputs, Floats], Floats]
    """(starts [r, p], inputs [m], ln metric [m]) → the same starts with the scales solved for."""
    needs: str = ""
    """The parameter without which the form is another one's twin."""

    def applies(self, inputs: Inputs) -> bool:
        """Whether the form says something of its own about a table with these inputs."""
        return all(p.free(inputs) for p in self.parameters if p.name == self.needs)

    def free(self, inputs: Inputs) -> list[bool]:
        """Which parameters a table with these inputs determines."""
        return [parameter.free(inputs) for parameter in self.parameters]


def power_law(theta: Floats, inputs: Inputs, log_data: Floats, places: tuple[int, int, int, int]) -> Floats:
    """``[(A/N)^{α/β} + B/x]^β`` (arXiv 2403.18684, eq 9, with any count of data x for D), [r, k].

    Of parameters [r, p] and ``log_data`` ln(x/D0), [r, k]; ``places``: positions of ln of the data term at
    D0, ln β, ln of the model term at N0, ln α.
    """
    data, beta, model, alpha = (theta[:, place, None] for place in places)
    power = np.exp(beta)
    size = np.log(inputs.n / inputs.n0)[None, :]
    terms = np.logaddexp(data / power - log_data, (model - np.exp(alpha) * size) / power)
    return np.asarray(np.exp(power * terms))


def published_power_law(
    theta: Floats, inputs: Inputs, places: tuple[int, int, int, int]
) -> dict[str, Floats]:
    """B, β and, where the table has several N, A and α of :func:`power_law`, each [r]."""
    data, beta, model, alpha = (theta[:, place] for place in places)
    with np.errstate(over="ignore"):
        found = {"B": inputs.d0 * np.exp(data / np.exp(beta)), "beta": np.exp(beta)}
        if inputs.levels("N") > 1:
            found |= {"A": inputs.n0 * np.exp(model / np.exp(alpha)), "alpha": np.exp(alpha)}
    return found


NO_TERM = -200.0
"""Logarithm of a model term that is not there."""

DATA_TERM = Parameter("data term", -15.0, 15.0, (0.0, 0.0))
BETA = Parameter(
    "beta", np.log(0.005), np.log(8.0), (np.log(0.08), np.log(0.8)), axis="D", frozen=np.log(0.3)
)
MODEL_TERM = Parameter("model term", NO_TERM, 15.0, (-4.0, 0.5), axis="N", frozen=NO_TERM)
ALPHA = Parameter(
    "alpha", np.log(0.005), np.log(8.0), (np.log(0.08), np.log(0.8)), "N", levels=3, frozen=np.log(0.3)
)
FLOOR = Parameter("delta", 0.0, 100.0, (0.0, 0.8), axis="D", levels=3)

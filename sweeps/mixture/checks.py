"""Turns a fitted mixture law into diagnostics; every threshold is a named constant here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting.checks import STARTS_SHARE
from sweeps.mixture.optimum import EDGE, GOALS
from sweeps.mixture.runs import Sample

if TYPE_CHECKING:
    from sweeps.mixture.result import MixtureResult

WIDE = 0.4
"""An interval of ω* wider than this leaves the optimum open."""
COARSE = 0.05
"""The log-linear law of ω* may miss the joint law's optimum by this much."""
NEAR = 0.02
"""An optimum less than this beyond an edge, or outside an interval, is not called so."""
FAR = 2.0
"""(N, D) more than this factor outside the fitted range is extrapolation."""

GOAL_NAMES = {"knee": "E + R", "eff": "E", "rob": "R"}


def check(result: MixtureResult) -> list[Diagnostic]:
    """All findings on a fit, in the order in which they matter."""
    found = _seeds(result.sample)
    found += _starts(result)
    for goal in GOALS:
        found += _edge(result, goal) + _open(result, goal)
    found += _held(result) + _law(result)
    if not result.options.steers:
        names = f"{result.options.eff} and {result.options.rob}"
        text = f"{names} are not both dev metrics (dev/…): training refuses this file"
        found.append(diagnose("TEST_METRICS", text))
    return found


def name_cell(sample: Sample, place: int) -> str:
    """A cell as people name it: ``bert-tiny 0.25``, or its N and D."""
    cell = sample.cells[place]
    return " ".join(str(value) for value in cell.where.values()) or f"N={cell.n:.4g} D={cell.d:.4g}"


def _seeds(sample: Sample) -> list[Diagnostic]:
    runs = sample.eff
    if len(runs.log_y) > len(runs.counts):
        return []
    text = f"{len(runs.log_y)} runs, none repeated with another seed"
    return [diagnose("SINGLE_SEED", text)]


def _starts(result: MixtureResult) -> list[Diagnostic]:
    found = []
    for name, part in (("E", result.surface.eff), ("R", result.surface.rob)):
        tried, agreeing = part.optimum.tried, part.optimum.agreeing
        if agreeing < max(3, STARTS_SHARE * tried):
            text = f"{name}: {agreeing} of {tried} starts reached the best objective"
            found.append(diagnose("STARTS_DISAGREE", text))
    return found


def _edge(result: MixtureResult, goal: str) -> list[Diagnostic]:
    """OMEGA_AT_EDGE where the best ω lies beyond the ω's that ran in the cell; 0 and 1 are no edges."""
    sample = result.sample
    beyond = []
    for place in range(len(sample.cells)):
        ran = sample.inputs.omega[sample.cell == place]
        best = result.cells.omega[goal][place]
        if best < ran.min() - NEAR or best > ran.max() + NEAR:
            beyond.append(f"{name_cell(sample, place)}: {best:.2f} outside {ran.min():g} to {ran.max():g}")
    if not beyond:
        return []
    text = f"the ω that minimises {GOAL_NAMES[goal]} lies beyond those that ran: {_some(beyond)}"
    return [diagnose("OMEGA_AT_EDGE", text)]


def _open(result: MixtureResult, goal: str) -> list[Diagnostic]:
    low, high = result.cells.low[goal], result.cells.high[goal]
    wide = [
        f"{name_cell(result.sample, int(place))}: {low[place]:.2f} to {high[place]:.2f}"
        for place in np.flatnonzero(high - low > WIDE)
    ]
    if not wide:
        return []
    text = f"the ω that minimises {GOAL_NAMES[goal]} is flat within noise: {_some(wide)}"
    return [diagnose("OMEGA_NOT_IDENTIFIED", text)]


def _held(result: MixtureResult) -> list[Diagnostic]:
    found = []
    for held in result.held:
        low, high = held.predicted.low["knee"], held.predicted.high["knee"]
        missed = np.flatnonzero((held.fitted < low - NEAR) | (held.fitted > high + NEAR))
        if len(missed):
            used = held.sample.used
            names = [name_cell(held.sample, used[i]) for i in missed]
            texts = [
                f"{name}: {held.fitted[i]:.2f}, predicted {low[i]:.2f} to {high[i]:.2f}"
                for name, i in zip(names, missed)
            ]
            text = f"fitted without the largest {held.axis}, the knee's ω* is missed: {_some(texts)}"
            found.append(diagnose("MIXTURE_HOLDOUT_MISSED", text))
    return found


def _law(result: MixtureResult) -> list[Diagnostic]:
    found = []
    for goal in GOALS:
        law = result.optimum[goal]
        if law.max_error > COARSE:
            text = f"the log-linear law of ω* ({GOAL_NAMES[goal]}) is off by up to {law.max_error:.2f}"
            found.append(diagnose("OMEGA_LAW_COARSE", text))
        if law.clipped:
            text = f"the ω that minimises {GOAL_NAMES[goal]} leaves {EDGE:g} to {1 - EDGE:g} within the range"
            found.append(diagnose("OMEGA_CLIPPED", text))
    return found


def check_point(sample: Sample, n: float, d: float) -> list[Diagnostic]:
    """OMEGA_EXTRAPOLATED where (N, D) lies more than a factor of two outside the fitted range."""
    found = []
    for axis, value, own in (("N", n, sample.inputs.n), ("D", d, sample.inputs.d)):
        low, high = float(own.min()), float(own.max())
        factor = max(value / high, low / value)
        if factor > FAR:
            text = f"{axis}={value:.4g} lies {factor:.3g}× outside the fitted range {low:.4g} to {high:.4g}"
            found.append(diagnose("OMEGA_EXTRAPOLATED", text))
    return found


def _some(texts: list[str], shown: int = 3) -> str:
    return "; ".join(texts[:shown]) + (f"; and {len(texts) - shown} more" if len(texts) > shown else "")

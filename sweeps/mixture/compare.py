"""Which form describes E and which R, and how well each predicts what it has not seen."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sweeps.errors import FitRefusedError
from sweeps.estimate import Estimate
from sweeps.laws import Floats
from sweeps.mixture.forms import FORMS, Form
from sweeps.mixture.runs import Sample
from sweeps.mixture.surface import Surface, fit
from sweeps.points import Runs
from sweeps.result import FitOptions

AXES = ("D", "N")

LEAST_WEIGHT = 0.01
"""Pairs of forms with less weight are left out of the intervals."""

_FEW_STARTS = 16
"""Starts of a hold-out fit: the whole table's fit has shown by then how many agree."""


@dataclass(frozen=True)
class Candidate:
    """One form on one objective: fitted to everything, and without the largest level of each axis."""

    form: Form
    estimate: Estimate
    aicc: float
    """By least squares, whatever the loss of ``estimate``."""
    scatter: float
    """Root mean squared residual of ln metric by least squares."""
    reduced: dict[str, Estimate] = field(default_factory=dict)
    """Axis → the fit without its largest level; an axis is missing where too little would remain."""
    errors: dict[str, Floats] = field(default_factory=dict)
    """Axis → signed relative errors over the configurations left out."""
    weight: float = 0.0
    """Akaike weight among the forms that hold-out does not tell from the best; the others have 0."""

    @property
    def error(self) -> float | None:
        """Root mean square of all hold-out errors; ``None`` without a hold-out."""
        every = [part for part in self.errors.values() if len(part)]
        return float(np.sqrt((np.concatenate(every) ** 2).mean())) if every else None


@dataclass(frozen=True)
class Comparison:
    """The forms that could be fitted to each objective, best first, and why the first is first."""

    sample: Sample
    eff: list[Candidate]
    rob: list[Candidate]
    chosen_by: str
    """``holdout`` or ``aicc``."""

    @property
    def surface(self) -> Surface:
        """E and R under their best forms."""
        return Surface(self.sample, self.eff[0].estimate, self.rob[0].estimate)

    def members(self, axis: str | None = None) -> list[tuple[float, Surface]]:
        """Weight and surface of every pair of forms that may be the right one, the best pair first.

        With ``axis``, the fits without its largest level; a pair that lacks one is left out. Weights are
        Akaike weights (Burnham and Anderson 2002, sec. 2.9), multiplied over the two objectives.
        """
        sample = self.sample if axis is None else self.sample.select(~largest_level(self.sample, axis))
        found = []
        for eff in self.eff:
            for rob in self.rob:
                parts = [item.estimate if axis is None else item.reduced.get(axis) for item in (eff, rob)]
                weight = eff.weight * rob.weight
                if parts[0] is not None and parts[1] is not None and weight >= LEAST_WEIGHT:
                    found.append((weight, Surface(sample, parts[0], parts[1])))
        return found


def compare(sample: Sample, options: FitOptions, names: tuple[str, ...] = ()) -> Comparison:
    """Fit every form (or those in ``names``) to both objectives and rank them by hold-out error, else AICc.

    The largest D and the largest N are left out in turn, where two levels and enough configurations remain.
    Hold-out ranks where every form has one. Raises FitRefusedError when there are too few configurations for
    any form.
    """
    forms = [FORMS[name] for name in names] or list(FORMS.values())
    usable = [form for form in forms if form.applies(sample.inputs) and _determined(form, sample)]
    if not usable:
        least = min(sum(form.free(sample.inputs)) for form in forms)
        raise FitRefusedError(
            "SATURATED_FIT",
            f"{len(sample.inputs.omega)} configurations do not determine a mixture law (the smallest form "
            f"has {least} parameters and needs {least + 3}); add values of strategy.omega or of data.frac",
        )
    ranked = []
    by_holdout = True
    for runs in (sample.eff, sample.rob):
        found = [_candidate(sample, runs, form, options) for form in usable]
        by_holdout &= all(candidate.error is not None for candidate in found)
        ranked.append(found)
    eff, rob = (_rank(found, by_holdout) for found in ranked)
    return Comparison(sample, eff, rob, "holdout" if by_holdout else "aicc")


def _rank(found: list[Candidate], by_holdout: bool) -> list[Candidate]:
    """Best first. Hold-out errors that differ by less than the runs scatter are one, and AICc decides.

    What is left out scatters by s whatever the form, so errors up to √(least² + s²) count as tied; s is the
    residual scatter of the form with the lowest AICc.
    """
    errors = np.array([item.error or 0.0 for item in found]) if by_holdout else np.zeros(len(found))
    aicc = np.array([item.aicc for item in found])
    limit = float(np.hypot(errors.min(), found[int(aicc.argmin())].scatter))
    tied = errors <= limit
    weight = np.where(tied, np.exp(-(aicc - aicc[tied].min()) / 2), 0.0)
    order = sorted(range(len(found)), key=lambda i: (not tied[i], aicc[i] if tied[i] else errors[i]))
    return [replace(found[i], weight=float(weight[i] / weight.sum())) for i in order]


def _determined(form: Form, sample: Sample) -> bool:
    """Whether AICc is defined: two more configurations than parameters and variance."""
    return len(sample.inputs.omega) >= sum(form.free(sample.inputs)) + 3


def largest_level(sample: Sample, axis: str) -> NDArray[np.bool_]:
    """Configurations with the largest N (D)."""
    size = sample.inputs.n if axis == "N" else sample.inputs.d
    largest: NDArray[np.bool_] = size >= size.max()
    return largest


def _candidate(sample: Sample, runs: Runs, form: Form, options: FitOptions) -> Candidate:
    squares, best = fit(runs, sample.inputs, form, options)
    candidate = Candidate(form, best, squares.aicc(), float(np.sqrt((squares.residuals**2).mean())))
    for axis in AXES:
        _hold_out(candidate, sample, runs, axis, options)
    return candidate


def _hold_out(candidate: Candidate, sample: Sample, runs: Runs, axis: str, options: FitOptions) -> None:
    largest = largest_level(sample, axis)
    kept = sample.select(~largest) if not largest.all() else None
    if kept is None or kept.inputs.levels(axis) < 2 or not _determined(candidate.form, kept):
        return
    few = replace(options, starts=min(options.starts, _FEW_STARTS))
    _, reduced = fit(runs.select(~largest[runs.cluster]), kept.inputs, candidate.form, few)
    left = sample.select(largest).inputs
    said = candidate.form.values(reduced.optimum.theta[None, :], left)[0]
    candidate.reduced[axis] = reduced
    candidate.errors[axis] = said / np.exp(runs.means()[largest]) - 1

"""Which form describes E and which R, and how well each predicts what it has not seen."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

from sweeps.diagnostics import FitRefusedError
from sweeps.fitting.estimate import Estimate
from sweeps.fitting.laws import Floats
from sweeps.fitting.points import Runs
from sweeps.fitting.result import FitOptions
from sweeps.mixture.forms import FORMS, Form
from sweeps.mixture.runs import Sample
from sweeps.mixture.surface import Surface, fit, prediction_variance

AXES = ("D", "N")

TIED = 3.0
"""Standard deviations by which a form must predict worse than the best one to be out; three, because the best
is the best of several."""

EQUAL = 1.1
"""Hold-out errors up to this factor of the smallest are equal for all purposes."""

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
    """Standard deviation of a configuration about the least-squares fit, in ln metric."""
    reduced: dict[str, Estimate] = field(default_factory=dict)
    """Axis → the fit without its largest level; an axis is missing where too little would remain."""
    errors: dict[str, Floats] = field(default_factory=dict)
    """Axis → signed relative errors over the configurations left out, [h]."""
    variance: dict[str, Floats] = field(default_factory=dict)
    """Axis → covariance [h, h] that these errors have under the form itself, in units of the scatter²."""
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
    Raises FitRefusedError when there are too few configurations for
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
    found = [
        [_candidate(sample, runs, form, options) for form in usable] for runs in (sample.eff, sample.rob)
    ]
    by_holdout = any(candidate.errors for candidate in found[0])
    return Comparison(sample, _rank(found[0]), _rank(found[1]), "holdout" if by_holdout else "aicc")


def _rank(found: list[Candidate]) -> list[Candidate]:
    """Best first, with weights: by hold-out error, by AICc among those that hold-out does not tell apart.

    A form that cannot be held out where others can comes last. Without any hold-out all are tied.
    """
    axes = [axis for axis in AXES if any(axis in item.errors for item in found)]
    tested = [item for item in found if all(axis in item.errors for axis in axes)] or found
    untested = [item for item in found if all(item is not other for other in tested)]
    tied = _as_good_as_the_best(tested, axes)
    least = min(item.aicc for item, kept in zip(tested, tied) if kept)
    raw = [float(np.exp((least - item.aicc) / 2)) if kept else 0.0 for item, kept in zip(tested, tied)]
    weighted = [replace(item, weight=weight / sum(raw)) for item, weight in zip(tested, raw)]
    ranked = sorted(
        zip(weighted, tied), key=lambda pair: (not pair[1], pair[0].aicc if pair[1] else pair[0].error or 0.0)
    )
    return [item for item, _ in ranked] + sorted(untested, key=lambda item: item.aicc)


def _as_good_as_the_best(tested: list[Candidate], axes: list[str]) -> list[bool]:
    """Which forms' hold-out errors are no worse than the best one's by more than noise explains.

    Both forms err about the same measurements, so their errors e and b [h] share that noise, and e − b is
    known exactly. If the form were right, e·u with u = (e − b)/|e − b| would be normal with variance s²·uᵀVu,
    s being the runs' scatter and V counting what the reduced fit leaves open. The form is tied with the best
    unless e·u exceeds three such deviations (a paired test, in the spirit of Diebold and Mariano 1995). A
    form within 10 % of the best error is tied in any case.
    """
    if not all(axis in item.errors for item in tested for axis in axes) or not axes:
        return [True] * len(tested)
    errors = np.array([np.concatenate([item.errors[axis] for axis in axes]) for item in tested])
    size = np.sqrt((errors**2).sum(axis=1))
    best = errors[int(size.argmin())]
    scatter = min(tested, key=lambda item: item.aicc).scatter
    tied = []
    for item, own, length in zip(tested, errors, size):
        apart = own - best
        direction = apart / max(float(np.linalg.norm(apart)), 1e-300)
        variance = block_diag(*(item.variance[axis] for axis in axes))
        limit = TIED * scatter * float(np.sqrt(direction @ variance @ direction))
        tied.append(bool(length <= EQUAL * size.min() + 1e-9) or float(own @ direction) <= limit)
    return tied


def _determined(form: Form, sample: Sample) -> bool:
    """Whether AICc is defined: two more configurations than parameters and variance."""
    return len(sample.inputs.omega) >= sum(form.free(sample.inputs)) + 3


def largest_level(sample: Sample, axis: str) -> NDArray[np.bool_]:
    """Configurations with the largest N (D)."""
    size = sample.inputs.n if axis == "N" else sample.inputs.d
    return np.asarray(size >= size.max())


def _candidate(sample: Sample, runs: Runs, form: Form, options: FitOptions) -> Candidate:
    squares, best = fit(runs, sample.inputs, form, options)
    spare = len(squares.residuals) - squares.law.size
    scatter = float(np.sqrt((squares.residuals**2).sum() / spare))
    candidate = Candidate(form, best, squares.aicc(), scatter)
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
    candidate.variance[axis] = prediction_variance(reduced, left)

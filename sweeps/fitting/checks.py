"""Turns the numbers of a fit into diagnostics; every threshold is a named constant here."""

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import stats

from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting.estimate import Estimate
from sweeps.fitting.laws import EXPONENT_BOUNDS, LAWS, Law, Role
from sweeps.fitting.points import Runs
from sweeps.fitting.profile import Interval
from sweeps.fitting.result import Bootstrap, Holdout

MIN_LEVELS = 3
COLLINEAR = 0.95
"""|correlation| of ln N and ln D over configurations from which their exponents are not separable."""
LOW_R2 = 0.90
HIGH_R2 = 0.95
BAD_EXTRAPOLATION = (3.0, 0.02)
"""Hold-out error counts as bad above this many residual deviations and above this relative size."""
RISE = 0.005
"""A metric rises with N or D when it does so significantly and by more than this relative size."""
STARTS_SHARE = 0.05
SIGNIFICANT = 0.01
"""Level of the tests behind LACK_OF_FIT and NON_MONOTONE: one false alarm in a hundred sound sweeps."""
WIDTH_RATIO = 3.0
"""Profile and bootstrap intervals disagree when one is this many times as wide as the other."""
DISCARDED_SHARE = 0.5
FORM_MARGIN = 2.0
BETTER_FORM = 4.0
WIDE_EXPONENT = 10.0

JUDGED: tuple[Role, ...] = ("exponent", "growth", "floor")
"""Parameters on which the two losses must agree."""

Findings = Iterator[Diagnostic]


def check_rows(runs: Runs, axes: tuple[str, ...]) -> Findings:
    """Levels, collinearity and replication of the rows themselves."""
    for axis in axes:
        levels = len(np.unique(runs.size(axis)))
        if levels < MIN_LEVELS:
            text = f"{axis} has {levels} distinct values; an exponent and a floor need {MIN_LEVELS} or more"
            yield diagnose("FEWER_THAN_3_LEVELS", text)
    index = runs.first()
    log_n, log_d = np.log(runs.n[index]), np.log(runs.d[index])
    if len(axes) == 2 and log_n.std() > 0 and log_d.std() > 0:
        correlation = float(np.corrcoef(log_n, log_d)[0, 1])
        if abs(correlation) >= COLLINEAR:
            text = f"ln N and ln D have correlation {correlation:.3f}: one could stand in for the other"
            yield diagnose("COLLINEAR_N_D", text)
    if not runs.independent and len(runs.log_y) == len(runs.counts):
        yield diagnose("SINGLE_SEED", f"{len(runs.log_y)} runs, none repeated with another seed")


def check_monotone(runs: Runs, law: Law, residual_sd: float) -> Findings:
    """NON_MONOTONE where the mean metric goes against the law from one level of an axis to the next.

    It must do so significantly; the significance level is shared among all neighbouring pairs (Bonferroni),
    because a large grid has many. METRIC_GROWS where it rises all the way and the law is one of losses.
    """
    means = runs.means()
    noise, freedom = runs.seed_variance()
    sd = float(np.sqrt(noise)) if freedom else residual_sd
    pairs = [(axis, first, second) for axis in law.axes for first, second in _neighbours(runs, axis)]
    if not pairs:
        return
    spare = max(len(runs.counts) - 2 * len(law.axes) - 1, 1)
    limit = float(stats.t.ppf(1 - SIGNIFICANT / len(pairs), freedom or spare))
    worst: tuple[float, str] | None = None
    sign, verb = (-1, "falls") if law.grows else (1, "rises")
    for axis, first, second in pairs:
        wrong = sign * float(means[second] - means[first])
        error = sd * float(np.sqrt(1 / runs.counts[first] + 1 / runs.counts[second]))
        if wrong > max(limit * error, RISE) and (worst is None or wrong > worst[0]):
            size = runs.size(axis)[runs.first()]
            text = f"{axis} = {size[first]:.4g} to {size[second]:.4g}"
            change = 100 * abs(np.expm1(sign * wrong))
            worst = (wrong, f"the metric {verb} by {change:.2g} % from {text}")
    if worst:
        yield diagnose("NON_MONOTONE", worst[1])
    if not law.grows:
        yield from _all_the_way_up(runs, law.axes, significant=worst is not None)


def _all_the_way_up(runs: Runs, axes: tuple[str, ...], significant: bool) -> Findings:
    """METRIC_GROWS on an axis with two steps or more, each of which goes up.

    ``significant``: whether seed noise is known to be smaller than a step. Where it is not, the order itself
    must be unlikely: levels without a trend are in ascending order once in (their number)! cases.
    """
    means = runs.means()
    for axis in axes:
        lines = list(_lines(runs, axis))
        rises = [float(rise) for line in lines for rise in np.diff(means[line])]
        by_luck = 1 / math.prod(math.factorial(len(line)) for line in lines)
        if len(rises) >= MIN_LEVELS - 1 and min(rises) > RISE and (significant or by_luck < SIGNIFICANT):
            yield diagnose("METRIC_GROWS", f"each of {len(rises)} steps of {axis} raises the metric")


def _neighbours(runs: Runs, axis: str) -> Iterator[tuple[int, int]]:
    """Configurations that are neighbours along ``axis`` at one value of the other axis."""
    for line in _lines(runs, axis):
        yield from pairwise(line)


def _lines(runs: Runs, axis: str) -> Iterator[list[int]]:
    """Configurations at each value of the other axis, in ascending order along ``axis``."""
    index = runs.first()
    along, across = runs.size(axis)[index], runs.size("D" if axis == "N" else "N")[index]
    for value in np.unique(across):
        line = np.flatnonzero(across == value)
        yield line[np.argsort(along[line])].tolist()


def check_estimate(fit: Estimate, r2: dict[str, float], lack: dict[str, float] | None) -> Findings:
    """Saturation, bounds, starts, R² and lack of fit."""
    count, law = len(fit.points.log_y), fit.law
    if count <= law.size:
        text = (
            f"{count} configurations for {law.size} parameters: the law passes through them whatever they are"
        )
        yield diagnose("SATURATED_FIT", text)
    for place in law.places("exponent"):
        name, value = law.parameters[place], fit.published[place]
        for bound in EXPONENT_BOUNDS:
            if abs(np.log(value / bound)) < 1e-3:
                yield diagnose("EXPONENT_AT_BOUND", f"{name} = {value:.4g} is the end of its search range")
    tried, agreeing = fit.optimum.tried, fit.optimum.agreeing
    if agreeing < max(3, STARTS_SHARE * tried):
        yield diagnose("STARTS_DISAGREE", f"{agreeing} of {tried} starts reached the best objective")
    if count > law.size and r2["log"] < LOW_R2:
        yield diagnose("LOW_R2", f"R² of ln metric is {r2['log']:.3f}")
    if lack is not None and lack["p"] < SIGNIFICANT:
        test = f"F({lack['df_model']:.0f}, {lack['df_error']:.0f}) = {lack['f']:.3g}, p = {lack['p']:.2g}"
        yield diagnose("LACK_OF_FIT", f"deviations from the law exceed seed noise: {test}")


def check_intervals(fit: Estimate, intervals: dict[str, Interval], sample: Bootstrap | None) -> Findings:
    """What the data leave undetermined, and whether profile and bootstrap agree."""
    for place in fit.law.places("floor"):
        low, high = intervals[fit.law.parameters[place]]
        if low is None or high is None or low <= 0:
            shown = "is open" if high is None else f"reaches from 0 to {high:.4g}"
            text = f"floor δ = {fit.published[place]:.4g}, but its interval {shown}"
            yield diagnose("FLOOR_NOT_IDENTIFIED", text)
    for name in fit.law.names("exponent"):
        low, high = intervals[name]
        if low is None or high is None or high > WIDE_EXPONENT * low:
            ends = " to ".join(f"{end:.3g}" if end is not None else "open" for end in (low, high))
            text = f"{name} = {fit.published[fit.law.parameters.index(name)]:.3g}, interval {ends}"
            yield diagnose("EXPONENT_NOT_IDENTIFIED", text)
    for name in fit.law.names("growth"):
        low, _ = intervals[name]
        if low is None or low <= 0:
            shown = "is open" if low is None else f"starts at {low:.3g}"
            value = fit.published[fit.law.parameters.index(name)]
            yield diagnose("GROWTH_NOT_ESTABLISHED", f"{name} = {value:.3g}, but its interval {shown}")
    if sample is None:
        return
    total = len(sample.params) + sample.discarded
    if sample.discarded > DISCARDED_SHARE * total or len(sample.params) < sample.requested:
        text = f"{sample.discarded} of {total} draws left too few configurations or levels to fit"
        yield diagnose("BOOTSTRAP_UNSTABLE", text)
    yield from _disagreement(fit.law, intervals, sample)


def _disagreement(law: Law, intervals: dict[str, Interval], sample: Bootstrap) -> Findings:
    growths = law.names("growth")
    for name in law.names("exponent") + growths:
        low, high = intervals[name]
        if low is None or high is None or high <= low or name not in sample.intervals:
            continue
        drawn = sample.intervals[name]
        width = high - low if name in growths else np.log(high / low)
        of_draws = drawn[1] - drawn[0] if name in growths else np.log(drawn[1] / drawn[0])
        ratio = width / max(of_draws, 1e-300)
        if not 1 / WIDTH_RATIO < ratio < WIDTH_RATIO:
            text = f"{name}: profile {low:.3g} to {high:.3g}, bootstrap {drawn[0]:.3g} to {drawn[1]:.3g}"
            yield diagnose("INTERVALS_DISAGREE", text)
            return


def check_objective(fit: Estimate, other: Estimate, intervals: dict[str, Interval]) -> Findings:
    """OBJECTIVE_SENSITIVE when the other loss puts an exponent or the floor outside its interval."""
    judged = {name for role in JUDGED for name in fit.law.names(role)}
    for name, here, there in zip(fit.law.parameters, fit.published, other.published):
        low, high = intervals[name]
        below, above = low is not None and there < low, high is not None and there > high
        exact = low is not None and low == high
        if name in judged and not exact and (below or above):
            losses = ("least squares", "Huber") if fit.objective.huber is None else ("Huber", "least squares")
            text = f"{name} = {here:.4g} by {losses[0]} but {there:.4g} by {losses[1]}, outside its interval"
            yield diagnose("OBJECTIVE_SENSITIVE", text)
            return


def check_extrapolation(held: Holdout, r2: dict[str, float], residual_sd: float | None) -> Findings:
    """HIGH_R2_BAD_EXTRAPOLATION on the worst held-out point of any axis."""
    if not held.points or r2["log"] < HIGH_R2 or residual_sd is None:
        return
    point = max(held.points, key=lambda item: abs(item["relative_error"]))
    error = float(point["relative_error"])
    if abs(np.log1p(max(error, -0.999))) > max(BAD_EXTRAPOLATION[0] * residual_sd, BAD_EXTRAPOLATION[1]):
        text = (
            f"R² is {r2['log']:.3f}, yet fitted without the largest {point['axis']} "
            f"the law misses it by {error:+.1%} (residuals: {residual_sd:.2%})"
        )
        yield diagnose("HIGH_R2_BAD_EXTRAPOLATION", text)


def check_forms(comparison: dict[str, Any], law: str) -> Findings:
    """Forms that AICc cannot tell from this one, or that it clearly prefers to it."""
    forms = comparison["forms"]
    own = forms[law]["delta_aicc"]
    if own is None:
        return
    best = min(forms, key=lambda name: forms[name]["aicc"])
    others = [name for name in forms if LAWS[name].family != LAWS[law].family]
    close = [name for name in others if abs(forms[name]["delta_aicc"] - own) < FORM_MARGIN]
    if own >= BETTER_FORM and best in others:
        text = f"{best} describes the same points better: ΔAICc = {own:.1f} against {law}"
        yield diagnose("BETTER_FORM_EXISTS", text)
    elif close:
        text = f"AICc does not tell {law} from {', '.join(close)} (difference below 2)"
        yield diagnose("FORM_AMBIGUOUS", text)

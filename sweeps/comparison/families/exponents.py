"""The law of every family, and tests of whether two families' laws fall equally fast.

All families that are held against each other get the same form: an exponent beside a floor and one without
are different quantities. Families that were run at the same sizes, amounts of data and seeds are resampled
together (:func:`sweeps.fitting.bootstrap.bootstrap`), so that what a subset of the data or a seed does to
both cancels in the difference; others are resampled independently of each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from retrieval.errors import ConfigError, ParetrieveError
from sweeps.comparison.cells import holm
from sweeps.comparison.families.record import Law, Slope, SlopeTest
from sweeps.comparison.families.slices import COLUMN, Slice, comparable_slices, is_grid
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting import checks
from sweeps.fitting.bootstrap import Fitted, bootstrap, interval
from sweeps.fitting.fit import Prepared, prepare_fit
from sweeps.fitting.laws import Floats, alone, get_law, plain_names
from sweeps.fitting.points import SIZE, levels_of
from sweeps.fitting.result import FitOptions
from sweeps.fitting.sensitivity import local_slope, two_sided

SINGLE = "single"
"""Instead of a law in N and D: a law in one of them for a slice at one value of the other."""

SPARE = 2
"""Configurations that a family must have beyond the law's parameters to be resampled."""
MIN_DRAWS = 20


METHOD = (
    "bootstrap over configurations, then over seeds within them; families run at the same configurations and "
    "seeds are drawn together (paired), others independently; percentile intervals, two-sided p"
)

Found = tuple[list[Law], list[SlopeTest], list[Diagnostic]]


def sources() -> list[str]:
    """What ``--law`` may be."""
    return ["auto", SINGLE, *plain_names({"N", "D"})]


@dataclass(frozen=True)
class _Drawn:
    """One family's fit with its bootstrap draws."""

    slice: Slice
    fit: Prepared
    params: Floats
    """Published parameters [r, p]; none where the family cannot be resampled."""
    group: int
    """Fits of one group share their draws."""

    @property
    def axes(self) -> tuple[str, ...]:
        return self.fit.estimate.law.axes


def exponents(
    rows: pd.DataFrame, families: list[str], strategy: str, metric: str, law: str, options: FitOptions
) -> Found:
    """Laws and uncorrected tests of one strategy and metric.

    ``rows`` have ``model_family``, N, D, ``level`` (the size, equal in families that are run at the same)
    and the metric, positive numbers. Raises ConfigError: a law that does not exist.
    """
    if law not in sources():
        raise ConfigError(f"--law {law} does not exist; choose one of {', '.join(sources())}")
    parts = {name: part for name in families if len(part := rows[rows["model_family"] == name])}
    laws: list[Law] = []
    tests: list[SlopeTest] = []
    said: list[Diagnostic] = []
    for form, slices in _forms(parts, law, strategy, metric, said):
        fits = _fits(slices, form, metric, strategy, options, said)
        drawn = _resample(fits, options, said, f"{strategy}, {metric}")
        centre = _centre(drawn) if drawn else {}
        laws += [_law(one, strategy, metric, centre, options.level) for one in drawn]
        tests += list(_tests(drawn, strategy, metric, centre, options.level))
    return laws, tests, said


def _forms(
    parts: Mapping[str, pd.DataFrame], law: str, strategy: str, metric: str, said: list[Diagnostic]
) -> Iterator[tuple[str, list[Slice]]]:
    """Form -> the families' rows: a law in N and D where the runs allow it, else one in N and one in D.

    Where they allow it for some families, these have both, so that each is compared with all others.
    """
    wide = [name for name, part in parts.items() if law != SINGLE and is_grid(part)]
    narrow = [name for name in parts if name not in wide]
    if law not in ("auto", SINGLE) and narrow:
        said.append(_too_few(narrow, strategy, metric, f"the law {law}"))
    if len(wide) > 1 or law not in ("auto", SINGLE):
        yield "joint" if law == "auto" else law, [Slice(name, parts[name], {}) for name in wide]
    if law not in ("auto", SINGLE) or (len(wide) > 1 and not narrow):
        return
    for axis in ("N", "D"):
        slices = comparable_slices(parts, axis)
        lacking = [name for name in parts if name not in {one.family for one in slices}]
        if lacking:
            said.append(_too_few(lacking, strategy, metric, f"a law in {axis}"))
        if not slices:
            continue
        if len({one.place for one in slices}) > 1:
            places = "; ".join(f"{one.family} at {_shown(one.at)}" for one in slices)
            said.append(diagnose("SLICES_DIFFER", f"{strategy}, {metric}, laws in {axis}: {places}"))
        levels = min(one.rows[COLUMN[axis]].nunique() for one in slices)
        yield alone(axis, floor=levels >= get_law(alone(axis, True).name).size + SPARE).name, slices


def _too_few(names: list[str], strategy: str, metric: str, what: str) -> Diagnostic:
    text = f"{strategy}, {metric}: too few sizes or amounts of data for {what}: {', '.join(names)}"
    return diagnose("NO_EXPONENT", text)


def _shown(at: Mapping[str, float]) -> str:
    return ", ".join(f"{axis} = {value:,.0f}" for axis, value in at.items())


def _fits(
    slices: list[Slice], form: str, metric: str, strategy: str, options: FitOptions, said: list[Diagnostic]
) -> list[tuple[Slice, Prepared]]:
    found = []
    for one in slices:
        try:
            found.append((one, prepare_fit(one.rows, form, metric, options=options, compare_forms=False)))
        except ParetrieveError as error:
            said.append(diagnose("NO_EXPONENT", f"{strategy}, {metric}: {one.family}: {error}"))
    return found


def _resample(
    fits: list[tuple[Slice, Prepared]], options: FitOptions, said: list[Diagnostic], concerns: str
) -> list[_Drawn]:
    """The fits with their draws, those at the same configurations and seeds drawn together."""
    groups: dict[object, list[tuple[Slice, Prepared, Fitted]]] = {}
    for one, fit in fits:
        fitted = _placed(fit.fitted(), one.rows)
        runs = fitted.runs
        own = frozenset(zip(runs.n.tolist(), runs.d.tolist(), runs.replicate))
        groups.setdefault(own, []).append((one, fit, fitted))
    drawn = []
    for position, members in enumerate(groups.values()):
        law = members[0][1].estimate.law
        count = len(members[0][2].runs.counts)
        params = [np.empty((0, law.size)) for _ in members]
        if count >= law.size + SPARE and options.bootstrap:
            seed = options.seed + position
            params = bootstrap([fitted for *_, fitted in members], options.bootstrap, seed).params
        if len(params[0]) < MIN_DRAWS:
            names = ", ".join(one.family for one, *_ in members)
            text = f"{concerns}, {law.name}: {count} configurations are too few to resample: {names}"
            said.append(diagnose("NO_EXPONENT", text))
            params = [np.empty((0, law.size)) for _ in members]
        drawn += [_Drawn(one, fit, part, position) for (one, fit, _), part in zip(members, params)]
    order = [one.family for one, _ in fits]
    return sorted(drawn, key=lambda one: order.index(one.slice.family))


def _placed(fitted: Fitted, rows: pd.DataFrame) -> Fitted:
    """The fit with configurations named as in the other families: by level of size, not by size.

    Only which rows are drawn together depends on it; the law is fitted at the true N and D.
    """
    runs, axes = fitted.runs, fitted.objective.law.axes
    level = dict(zip(levels_of(rows[SIZE].to_numpy(float)), rows["level"]))
    n = np.array([level[value] for value in runs.n]) if "N" in axes else np.ones_like(runs.n)
    d = runs.d if "D" in axes else np.ones_like(runs.d)
    return replace(fitted, runs=replace(runs, n=n, d=d))


def _centre(drawn: list[_Drawn]) -> dict[str, float]:
    """Geometric middle of the N and D that all families were run at; empty where there are none."""
    found = {}
    for axis in ("N", "D"):
        sizes = [one.fit.estimate.runs.size(axis) for one in drawn]
        low, high = max(size.min() for size in sizes), min(size.max() for size in sizes)
        # What a law does not depend on may differ between the families' slices.
        if high < low and axis in drawn[0].axes:
            return {}
        found[axis] = float(np.sqrt(low * high))
    return found


def _kinds(one: _Drawn, centre: Mapping[str, float]) -> Iterator[tuple[str, str, Floats, Floats]]:
    """Resource, kind, estimate [1] and draws [r] of every slope of a fit."""
    estimate = one.fit.estimate
    for axis in one.axes:
        place = estimate.law.exponent(axis)
        if place is not None:
            yield axis, "exponent", estimate.published[None, place], one.params[:, place]
        # Without a floor a law in one resource falls equally fast everywhere: as its exponent says.
        if centre and (len(one.axes) > 1 or estimate.law.places("floor")):
            at = (centre["N"], centre["D"])
            first = local_slope(one.fit, estimate.published[None, :], axis, at)
            yield axis, "local", first, local_slope(one.fit, one.params, axis, at)


def _law(one: _Drawn, strategy: str, metric: str, centre: dict[str, float], level: float) -> Law:
    estimate, runs, law = one.fit.estimate, one.fit.estimate.runs, one.fit.estimate.law
    slopes = []
    for axis, kind, value, draws in _kinds(one, centre):
        place = law.exponent(axis)
        profile = one.fit.profile.intervals[law.parameters[place]] if place is not None else None
        own = profile if kind == "exponent" else None
        slopes.append(Slope(axis, kind, float(value[0]), own, _ends(draws, level)))
    found = [
        *one.fit.by_configuration.notes,
        *checks.check_rows(one.fit.by_configuration, law.axes),
        *checks.check_intervals(estimate, one.fit.profile.intervals, None),
    ]
    return Law(
        family=one.slice.family,
        strategy=strategy,
        metric=metric,
        law=law.name,
        formula=law.formula,
        at=one.slice.at,
        n_runs=len(runs.n),
        n_configs=len(runs.counts),
        range={axis: (float(runs.size(axis).min()), float(runs.size(axis).max())) for axis in ("N", "D")},
        params=dict(zip(law.parameters, map(float, estimate.published))),
        centre=centre,
        slopes=slopes,
        codes=list(dict.fromkeys(item.code for item in found)),
    )


def _ends(draws: Floats, level: float) -> tuple[float, float] | None:
    if len(draws) < MIN_DRAWS:
        return None
    low, high = interval(draws, level)
    return float(low), float(high)


def _tests(
    drawn: list[_Drawn], strategy: str, metric: str, centre: Mapping[str, float], level: float
) -> Iterator[SlopeTest]:
    for first, second in combinations(drawn, 2):
        pairs = zip(_kinds(first, centre), _kinds(second, centre))
        for (axis, kind, a, draws_a), (_, _, b, draws_b) in pairs:
            count = min(len(draws_a), len(draws_b))
            gap = draws_b[:count] - draws_a[:count]
            enough = count >= MIN_DRAWS
            yield SlopeTest(
                strategy=strategy,
                metric=metric,
                law=first.fit.estimate.law.name,
                resource=axis,
                kind=kind,
                first=first.slice.family,
                second=second.slice.family,
                difference=float(b[0] - a[0]),
                interval=_ends(gap, level),
                p=two_sided(gap) if enough else None,
                p_holm=None,
                method=("paired" if first.group == second.group else "independent") if enough else "none",
                differs=None,
            )


def corrected(tests: list[SlopeTest], level: float) -> list[SlopeTest]:
    """The tests with ``p_holm`` over the pairs of families, and ``differs``."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for k, test in enumerate(tests):
        key = (test.strategy, test.metric, test.law, test.resource, test.kind)
        groups.setdefault(key, []).append(k)
    found = list(tests)
    for members in groups.values():
        for k, p in zip(members, holm([tests[k].p for k in members])):
            found[k] = replace(tests[k], p_holm=p, differs=None if p is None else p < 1 - level)
    return found

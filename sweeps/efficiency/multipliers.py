"""Efficiency multipliers: how much of a resource a value takes, and how multipliers are written down.

A falling curve through measured points has no law, and no reach beyond the points. Noise can make a mean rise
from one amount of data to the next although the metric falls. Such neighbours are pooled into one point at
their weighted means of both coordinates (centred isotonic regression, Oron and Flournoy 2017, Statistics in
Biopharmaceutical Research 9(3)); pooling at equal heights alone would leave flat pieces, whose inverse jumps.
Between points the curve is a straight line in ln metric against ln resource, so a power law without floor is
met exactly; below the first and beyond the last point nothing is known.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize

from retrieval.errors import ConfigError
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.efficiency.record import INTERPOLATED, Curve, Efficiency, Row, Summary
from sweeps.fitting.laws import Floats, Law, plain_names
from sweeps.fitting.present import aligned, describe_warnings
from sweeps.fitting.result import EXTRAPOLATION_LIMIT

ROUNDING = 1e-9
"""Differences of ln metric up to this are equality: an end of the curve reaches itself."""


def falling(log_x: Floats, log_y: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Knots (ln resource, ln metric) [r, m] of the falling curves nearest to ln metric ``log_y`` [r, m].

    ``log_x`` [m]: ln resource, strictly rising; ``weight`` [m]: of the points, such as numbers of seeds.
    Knots are in order of the resource; points that are pooled are the same knot several times.
    """
    x, y = np.tile(log_x, (len(log_y), 1)), np.array(log_y)
    for row in np.flatnonzero(~np.all(np.diff(log_y, axis=1) < 0, axis=1)):
        levels = np.asarray(optimize.isotonic_regression(log_y[row], weights=weight, increasing=False).x)
        block = np.cumsum(np.concatenate([[0], np.diff(levels) < 0]))
        centres = np.bincount(block, weight * log_x) / np.bincount(block, weight)
        x[row], y[row] = centres[block], levels
    return x, y


def reached(log_x: Floats, log_y: Floats, weight: Floats, target: Floats) -> Floats:
    """Amounts of the resource [r, s] at which the curves of :func:`falling` have ln metric ``target`` [r, s].

    In the resource's own unit; ``inf`` where the target lies below the curve's last point and every measured
    one, 0 where it lies above the first and every measured one: more, or less, than was measured. Where the
    last point is a pooled one and only a point in it reaches the target, the pooled point does.
    """
    x, y = falling(log_x, log_y, weight)
    after = (y[:, None, :] > target[:, :, None]).sum(axis=2).clip(1, len(log_x) - 1)
    x0, x1, y0, y1 = (np.take_along_axis(part, after - k, axis=1) for part in (x, y) for k in (1, 0))
    drop = y0 - y1
    share = np.divide(y0 - target, drop, out=np.zeros_like(drop), where=drop > 0)
    amount = np.exp(x0 + share.clip(0, 1) * (x1 - x0))
    least, most = log_y.min(axis=1, keepdims=True), log_y.max(axis=1, keepdims=True)
    amount = np.where(target < np.minimum(y[:, -1:], least) - ROUNDING, np.inf, amount)
    return np.where(target > np.maximum(y[:, :1], most) + ROUNDING, 0.0, amount)


def required(
    law: Law,
    params: ArrayLike,
    target: ArrayLike,
    axis: Literal["N", "D"],
    other: ArrayLike = 1.0,
    chance: float | None = None,
) -> Floats:
    """Least amount of ``axis``, float64, at which ``law`` predicts ``target`` or less.

    Published parameters [..., p], the target and the resource held fixed broadcast as in :meth:`Law.inverse`;
    bounded forms need ``chance``. ``inf`` where no amount reaches the target (at or below the floor, or below
    what the other resource allows), 0 where every amount does.

    Raises ConfigError: the law does not depend on ``axis``, or is bounded and the chance level is not given.
    """
    if axis not in law.axes:
        raise ConfigError(
            f"law {law.name} does not depend on {axis}; use one of {', '.join(plain_names({axis}))}"
        )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return law.inverse(
            np.asarray(params, dtype=np.float64),
            np.asarray(target, dtype=np.float64),
            axis,
            np.asarray(other, dtype=np.float64),
            chance,
        )


UNBOUNDED = "unbounded"
"""How an infinite multiplier is written: no amount suffices, or none that was measured."""

BELOW = "below"
"""How a measured multiplier is written where the least amount measured is already more than enough."""

NOT_CONSTANT = 1.5
"""Ratio of the largest to the smallest multiplier over the runs' scale from which it is called so."""

MIN_DRAWS = 20
"""Bootstrap draws below which no interval is given."""

BOTH = "both"
"""Key of the multiplier *to match both*: the largest of the metrics' multipliers."""

EACH = "each"
"""Key of the multiplier *in each*: the smallest of the metrics' multipliers."""

IN_WORDS = {BOTH: "to match both", EACH: "in each"}


def summaries(
    found: dict[str, tuple[Floats, Floats]], level: float, measured: bool = False
) -> dict[str, Summary]:
    """Every metric's multiplier with its interval, and those of ``both`` and ``each``.

    In every draw the larger (the smaller) of the metrics' multipliers is taken, but for one end. The larger
    of two noisy numbers is biased upwards: its draws alone would put the lower end of ``both`` above the
    truth in 15 to 19 of 100 cases where the metrics' multipliers are equal (simulated). That end is therefore
    the largest of the metrics' lower ends, the tail shared among the metrics whose intervals reach that far
    (Bonferroni). The upper end of ``each`` is found likewise. ``found``: metric -> multiplier [s] and draws
    [r, s], the draws shared by all metrics; ``level`` and ``measured`` as in :func:`summary`.
    """
    values, draws = [one for one, _ in found.values()], [drawn for _, drawn in found.values()]
    by = {name: summary(one, drawn, level, measured) for name, (one, drawn) in found.items()}
    by[BOTH] = summary(np.max(values, axis=0), np.max(draws, axis=0), level, measured)
    by[EACH] = summary(np.min(values, axis=0), np.min(draws, axis=0), level, measured)
    if by[BOTH].low is not None:
        sets = [(one, _known(drawn)) for one, drawn in found.values()]
        tail = (1 - level) / 2
        by[BOTH] = replace(by[BOTH], low=_written(_lower_end(sets, tail), measured))
        mirrored = [(-one, -drawn) for one, drawn in sets]
        by[EACH] = replace(by[EACH], high=_written(-_lower_end(mirrored, tail), measured))
    return by


def _lower_end(found: list[tuple[Floats, Floats]], tail: float) -> Floats:
    """Lower end [s] of the largest of several multipliers [s], each with draws [r, s]."""
    low, high = np.stack([_ends(*one, tail) for one in found], axis=1)
    contenders = (high >= low.max(axis=0)).sum(axis=0)
    counts = range(1, len(found) + 1)
    shared = [np.max([_ends(*one, tail / count)[0] for one in found], axis=0) for count in counts]
    return np.asarray(np.choose(contenders - 1, shared))


def summary(multiplier: Floats, draws: Floats, level: float, measured: bool = False) -> Summary:
    """Estimate, percentile interval and share of unbounded draws; no interval with too few draws.

    ``multiplier`` is [s], ``draws`` [r, s]; those whose law cannot be evaluated (an exponent so near 0 that
    its scale overflows) are left out. ``measured``: 0 means "less than the least amount measured".
    """
    estimate = _written(multiplier, measured)
    known = _known(draws)
    if len(known) < max(MIN_DRAWS, 0.9 * len(draws)):
        return Summary(estimate, None, None, None)
    low, high = _ends(multiplier, known, (1 - level) / 2)
    share = np.isinf(known).mean(axis=0)
    return Summary(estimate, _written(low, measured), _written(high, measured), share.tolist())


def _known(draws: Floats) -> Floats:
    """The draws [r, s] that could be evaluated at every scale."""
    return draws[~np.isnan(draws).any(axis=1)]


def _ends(multiplier: Floats, draws: Floats, tail: float) -> tuple[Floats, Floats]:
    """Ends [s] of the interval that leaves out ``tail`` of the draws [r, s] on each side."""
    # Order statistics, not interpolation: an unbounded draw must not make its neighbours infinite.
    low, high = np.quantile(draws, [tail, 1 - tail], axis=0, method="nearest")
    # The draws of a law that fits badly can all miss the estimate; an interval must hold it.
    return np.minimum(low, multiplier), np.maximum(high, multiplier)


def _written(values: Floats, measured: bool) -> list[float | str]:
    return [
        UNBOUNDED if not np.isfinite(value) else BELOW if measured and value == 0 else float(value)
        for value in values
    ]


def doubts(curves: list[Curve], strategy: str) -> list[Diagnostic]:
    """What limits the multipliers, one finding a code, metric and resource."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for item in curves:
        for name, summary in item.by.items():
            if name in (BOTH, EACH):
                continue
            for code, text in _curve_doubts(item, summary):
                found.setdefault((code, name, item.resource), []).append(f"{item.at.name}{text}")
    return [
        diagnose(code, f"{name}, {strategy}, multiplier on {resource}: {'; '.join(places)}")
        for (code, name, resource), places in found.items()
    ]


def _curve_doubts(item: Curve, summary: Summary) -> Iterator[tuple[str, str]]:
    values = summary.multiplier
    finite = [value for value in values if not isinstance(value, str)]
    if finite and max(finite) / max(min(finite), 1e-12) > NOT_CONSTANT:
        yield "MULTIPLIER_NOT_CONSTANT", f" ({min(finite):.3g} to {max(finite):.3g})"
    if item.law == INTERPOLATED:
        yield from _outside(item, values)
        return
    if UNBOUNDED in values:
        first = item.scale[values.index(UNBOUNDED)]
        yield "TARGET_BELOW_FLOOR", f" (from {first:.3g} on)"
    last = values[-1]
    if isinstance(last, str):
        return
    needed = last * item.scale[-1]
    least, most = item.baseline_range
    if needed > EXTRAPOLATION_LIMIT * most:
        reach = f"{needed / most:.3g} × the largest"
    elif needed < least / EXTRAPOLATION_LIMIT:
        reach = f"{needed / least:.3g} × the least"
    else:
        return
    yield "EXTRAPOLATION_FACTOR", f" (the baseline would need {reach} it was run with)"


def _outside(item: Curve, values: list[float | str]) -> Iterator[tuple[str, str]]:
    """Where a measured multiplier lies outside what the baseline was run with."""
    least, most = item.baseline_range
    for code, written, end, sign in (
        ("BEYOND_BASELINE_RANGE", UNBOUNDED, most, ">"),
        ("BELOW_BASELINE_RANGE", BELOW, least, "<"),
    ):
        places = [scale for scale, value in zip(item.scale, values) if value == written]
        if places:
            yield code, " (" + ", ".join(f"{sign} {end / at:.3g}× at {at:.4g}" for at in places) + ")"


def written(line: Row, name: str, bare: bool = False) -> str:
    """The multiplier ``name`` of a row with its interval: ``2.5× [2.1, 3]``.

    What no amount reaches is ``unbounded``; what lies outside the baseline's runs, ``> 4.2×`` or ``< 0.5×``.
    ``bare``: without the interval.
    """
    limits = line.range if line.law == INTERPOLATED else None
    found = line.by[name]
    one = _figures(found.multiplier, limits)
    one += "" if one == UNBOUNDED else "×"
    if bare or found.low is None or found.high is None:
        return one
    return f"{one} [{_figures(found.low, limits)}, {_figures(found.high, limits)}]"


def _figures(value: float | str, limits: list[float] | None) -> str:
    if value == UNBOUNDED:
        return UNBOUNDED if limits is None else f"> {limits[1]:.3g}"
    if value == BELOW:
        return "below the runs" if limits is None else f"< {limits[0]:.3g}"
    size = float(value)
    return "over 1000" if size >= 1000 else "under 0.001" if size < 0.001 else f"{size:.3g}"


def describe(record: Efficiency) -> list[str]:
    """Lines for the terminal: the multipliers at every level run, what is refused, every warning."""
    percent = f"{100 * record.level:g} %"
    lines = [f"{record.baseline} needs so many times as much as {record.strategy} ({percent} intervals):"]
    names = {**{name: name for name in record.metrics}, **IN_WORDS}
    slices = groupby(record.levels, key=lambda level: (level.resource, level.row.at.name))
    laws = {(curve.resource, curve.at.name): curve.law for curve in record.curves}
    for (resource, place), group in slices:
        lines.append(f"  on {resource}, {place}, {laws[resource, place]}:")
        cells = [["", resource, *names.values()]]
        rows = [level.row for level in group]
        cells += [["", f"{row.scale:,.6g}", *(written(row, name) for name in names)] for row in rows]
        lines += aligned(cells)
    lines += [f"  {resource}: not computed: {reason}" for resource, reason in record.refused.items()]
    return lines + describe_warnings(record.warnings)

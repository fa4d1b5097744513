"""Families at equal N, at equal D and at equal training FLOPs: measured, or between measured points.

At equal N and D both families were run, and runs of one seed form a pair. Where only one of N and D is
equal, and at equal FLOPs, the other family's value is read off the line between its two neighbouring
points, ln metric against ln resource, seed by seed; so a seed must have been run at both. Nothing is
extrapolated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from retrieval.run.metric_names import larger_is_better
from sweeps.comparison.cells import difference, holm
from sweeps.comparison.families.record import Gap
from sweeps.diagnostics import Diagnostic, diagnose
from sweeps.fitting.configurations import FLOPS
from sweeps.fitting.points import PAIRS, SAME_LEVEL, SIZE, levels_of
from sweeps.table.cells import seeds_of, with_values

LEVEL = "level"
"""Column with the size of a run as a level that equal sizes share."""

NAMES = {PAIRS: "D", SIZE: "N", FLOPS: "FLOPs"}


@dataclass(frozen=True)
class Question:
    """What two families are compared in."""

    strategy: str
    metric: str
    pair: tuple[str, str]
    tolerance: float
    level: float


Pair = tuple[pd.DataFrame, pd.DataFrame]


@dataclass(frozen=True)
class _Place:
    """Both families' values by seed at one place."""

    equal: str
    at: dict[str, float]
    sides: tuple[pd.Series, pd.Series]
    interpolated: list[str]


def at_equal(rows: pd.DataFrame, question: Question) -> tuple[list[Gap], list[Diagnostic]]:
    """All comparisons of two families, p values not corrected, and what cannot be compared.

    ``rows`` have ``model_family``, N, D, :data:`LEVEL` and the metric as numbers, and FLOPs where known.
    """
    parts = [rows[rows["model_family"] == name] for name in question.pair]
    first, second = (part.assign(seed=seeds_of(part)) for part in parts)
    found = list(_cells((first, second), question))
    measured = {(place.at["N"], place.at["D"]) for place in found}
    said: list[Diagnostic] = []
    for equal, across, along in (("N", LEVEL, PAIRS), ("D", PAIRS, SIZE), ("FLOPs", PAIRS, FLOPS)):
        if along in rows:
            sides = [with_values(part, [along])[0] for part in (first, second)]
            places, notes = _slices((sides[0], sides[1]), question, equal, across, along)
            found += [one for one in places if equal == "FLOPs" or not _known(one, measured, question)]
            said += notes
    return [*_overall(found, question), *(_gap(question, place) for place in found)], said


def _slices(
    pair: Pair, question: Question, equal: str, across: str, along: str
) -> tuple[list[_Place], list[Diagnostic]]:
    """Places along one resource at every value of the other that both families were run at."""
    slices = sorted(set(pair[0][across]) & set(pair[1][across]))
    held = "N" if across == LEVEL else "D"
    if not slices and len(pair[0]) and len(pair[1]):
        return [], [_apart(question, f"no {held} that both were run at", equal)]
    found: list[_Place] = []
    said = []
    for value in slices:
        sides = (pair[0][pair[0][across] == value], pair[1][pair[1][across] == value])
        places = _lines(sides, question, equal, along, {held: float(value)})
        if places is None:
            ranges = (f"{name} {_range(part[along])}" for name, part in zip(question.pair, sides))
            text = f"at {held} = {value:,.0f}, {NAMES[along]} of {' and '.join(ranges)}"
            said.append(_apart(question, text, equal))
        else:
            found += places
    return found, said


def _apart(question: Question, text: str, equal: str) -> Diagnostic:
    first, second = question.pair
    return diagnose("NO_COMMON_RANGE", f"{question.strategy}, {first} and {second} at equal {equal}: {text}")


def _range(values: pd.Series) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _known(place: _Place, measured: set[tuple[float, float]], question: Question) -> bool:
    """Whether both families were run at a place, so that it stands among the measured cells."""
    return any(
        abs(np.log(place.at["N"] / n)) <= np.log1p(question.tolerance)
        and abs(np.log(place.at["D"] / d)) <= np.log1p(SAME_LEVEL)
        for n, d in measured
    )


def _cells(pair: Pair, question: Question) -> Iterator[_Place]:
    """Where both were run at one size and amount of data."""
    places = [set(zip(side[LEVEL].tolist(), side[PAIRS].tolist())) for side in pair]
    for n, d in sorted(places[0] & places[1]):
        here = [side[(side[LEVEL] == n) & (side[PAIRS] == d)] for side in pair]
        first, second = (side.groupby("seed")[question.metric].mean() for side in here)
        yield _Place("N and D", {"N": n, "D": d}, (first, second), [])


def _lines(
    pair: Pair, question: Question, equal: str, along: str, fixed: dict[str, float]
) -> list[_Place] | None:
    """Places along a resource at the amounts that either was run with; ``None`` without a common range."""
    amounts = [part[along].to_numpy(float) for part in pair]
    low, high = max(values.min() for values in amounts), min(values.max() for values in amounts)
    if low > high * (1 + SAME_LEVEL):
        return None
    every = np.concatenate(amounts)
    inside = every[(every >= low / (1 + SAME_LEVEL)) & (every <= high * (1 + SAME_LEVEL))]
    found = []
    tables = [_by_seed(part, question.metric, along) for part in pair]
    for target in np.unique(levels_of(inside, question.tolerance)):
        lines = [_line(table, question.metric, float(target)) for table in tables]
        if all(len(values) for values, _ in lines):
            between = [family for family, (_, own) in zip(question.pair, lines) if own]
            at = fixed | {NAMES[along]: float(target)}
            found.append(_Place(equal, at, (lines[0][0], lines[1][0]), between))
    return found


def _overall(places: list[_Place], question: Question) -> Iterator[Gap]:
    """The mean over all places of a kind, over the seeds that were run at every one of them."""
    for equal in dict.fromkeys(place.equal for place in places):
        own = [place for place in places if place.equal == equal]
        if len(own) < 2:
            continue
        sides = [pd.concat([place.sides[k] for place in own], axis=1).dropna().mean(axis=1) for k in (0, 1)]
        if all(len(side) for side in sides):
            between = [name for name in question.pair if any(name in place.interpolated for place in own)]
            mean = _Place(equal, {}, (sides[0], sides[1]), between)
            yield replace(_gap(question, mean), places=len(own))


def _by_seed(part: pd.DataFrame, metric: str, along: str) -> pd.DataFrame:
    """The metric, a row a seed and a column an amount of the resource."""
    amounts = pd.Series(levels_of(part[along].to_numpy(float)), index=part.index)
    return part[metric].groupby([part["seed"], amounts]).mean().unstack()


def _line(table: pd.DataFrame, metric: str, target: float) -> tuple[pd.Series, bool]:
    """The metric at ``target`` by seed, and whether it lies between measured points.

    Seeds that were not run at both neighbours are left out.
    """
    # Losses fall as power laws, which are lines in ln metric; rankings lie between 0 and 1 and may be 0.
    logarithmic = not larger_is_better(metric)
    levels = table.columns.to_numpy(float)
    near = np.flatnonzero(np.abs(np.log(levels / target)) <= np.log1p(SAME_LEVEL))
    if len(near):
        return table.iloc[:, int(near[0])].dropna(), False
    after = int(np.searchsorted(levels, target))
    if after in (0, len(levels)):
        return pd.Series(dtype=float), False
    sides = table.iloc[:, [after - 1, after]].dropna()
    share = np.log(target / levels[after - 1]) / np.log(levels[after] / levels[after - 1])
    values = np.log(sides.to_numpy(float)) if logarithmic else sides.to_numpy(float)
    between = values[:, 0] + share * (values[:, 1] - values[:, 0])
    return pd.Series(np.exp(between) if logarithmic else between, index=sides.index), True


def _gap(question: Question, place: _Place) -> Gap:
    found = difference(*place.sides, question.level)
    return Gap(
        strategy=question.strategy,
        metric=question.metric,
        equal=place.equal,
        at=place.at,
        places=1,
        first=question.pair[0],
        second=question.pair[1],
        first_value=found.baseline,
        second_value=found.strategy,
        difference=found.difference,
        low=None if found.low is None else float(found.low),
        high=None if found.high is None else float(found.high),
        p=found.p,
        p_holm=None,
        n=found.n,
        df=found.df,
        method=found.method,
        interpolated=place.interpolated,
        better=None,
    )


def corrected(gaps: list[Gap], level: float) -> list[Gap]:
    """The rows with ``p_holm`` over those of one metric and ``equal``, and the better family."""
    groups: dict[tuple[str, str, bool], list[int]] = {}
    for k, gap in enumerate(gaps):
        groups.setdefault((gap.metric, gap.equal, gap.places > 1), []).append(k)
    found = list(gaps)
    for members in groups.values():
        for k, p in zip(members, holm([gaps[k].p for k in members])):
            gap, better = gaps[k], None
            if p is not None and p < 1 - level:
                second = (gap.difference > 0) == larger_is_better(gap.metric)
                better = gap.second if second else gap.first
            found[k] = replace(gap, p_holm=p, better=better)
    return found

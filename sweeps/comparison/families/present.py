"""The comparison of families in words and tables, for the terminal and the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sweeps.comparison.families.record import RHO, Families, Gap, Shift, Slope, SlopeTest, Tradeoff
from sweeps.fitting.present import aligned, describe_warnings, number

Rows = list[list[str]]
"""Cells of a table, its headings first."""


def ends(interval: Sequence[float | None] | None, form: str = "{:.3g}") -> str:
    """``[0.31, 0.52]``; nothing without an interval, a bound where one end is open."""
    low, high = interval if interval is not None else (None, None)
    if low is None or high is None:
        return (
            f"≤ {form.format(high)}"
            if high is not None
            else f"≥ {form.format(low)}"
            if low is not None
            else ""
        )
    return f"[{form.format(low)}, {form.format(high)}]"


def slope_rows(record: Families) -> Rows:
    """Exponents and local slopes of every law."""
    rows = [["strategy", "metric", "family", "law", "at", "slope", "value", "profile", "bootstrap"]]
    rows += [
        [
            *(law.strategy, law.metric, law.family, law.law, place(law.at), symbol(slope)),
            *(f"{slope.value:.3f}", ends(slope.profile), ends(slope.bootstrap)),
        ]
        for law in record.laws
        for slope in law.slopes
    ]
    return rows


def symbol(slope: Slope | SlopeTest) -> str:
    """``α`` and ``β`` for exponents, ``local slope in N`` and ``in D``."""
    if slope.kind == "exponent":
        return {"N": "α", "D": "β"}[slope.resource]
    return f"local slope in {slope.resource}"


def place(at: dict[str, float]) -> str:
    """``N = 3.36e+06, D = 7,000``."""
    return ", ".join(
        f"{axis} = {value:,.0f}" if axis == "D" else f"{axis} = {number(value)}" for axis, value in at.items()
    )


def test_rows(record: Families) -> Rows:
    """The tests of slopes."""
    rows = [["strategy", "metric", "law", "slope", "families", "difference", "interval", "p", "draws"]]
    for test in record.tests:
        mark = "*" if test.differs else ""
        p = "" if test.p_holm is None else f"{test.p_holm:.3f}{mark}"
        rows.append(
            [
                *(test.strategy, test.metric, test.law, symbol(test), f"{test.second} − {test.first}"),
                *(f"{test.difference:+.3f}", ends(test.interval, "{:+.3f}"), p, test.method),
            ]
        )
    return rows


def gap_rows(gaps: Sequence[Gap]) -> Rows:
    """Families at equal amounts."""
    rows = [
        [
            "equal",
            "at",
            "strategy",
            "metric",
            "families",
            "first",
            "second",
            "difference",
            "interval",
            "p",
            "pairs",
        ]
    ]
    for gap in gaps:
        where = place(gap.at) or f"mean of {gap.places} places"
        mark = "*" if gap.better else ""
        p = "" if gap.p_holm is None else f"{gap.p_holm:.3f}{mark}"
        own = [f"{gap.first_value:.4f}", f"{gap.second_value:.4f}"]
        own = [
            f"{value}{' (between)' if family in gap.interpolated and gap.places == 1 else ''}"
            for value, family in zip(own, (gap.first, gap.second))
        ]
        rows.append(
            [
                *(gap.equal, where, gap.strategy, gap.metric, f"{gap.second} − {gap.first}", *own),
                *(f"{gap.difference:+.4f}", ends((gap.low, gap.high), "{:+.4f}"), p, str(gap.n or "")),
            ]
        )
    return rows


def means(record: Families) -> list[Gap]:
    """The comparisons over all places of a kind; a kind with one place has it alone."""
    several = {
        (gap.strategy, gap.metric, gap.equal, gap.first, gap.second) for gap in record.equal if gap.places > 1
    }
    return [
        gap
        for gap in record.equal
        if gap.places > 1 or (gap.strategy, gap.metric, gap.equal, gap.first, gap.second) not in several
    ]


def tradeoff_rows(found: Sequence[Tradeoff]) -> Rows:
    """Frontiers by family."""
    rows = [
        ["family", "at", "configurations", "non-dominated", "knee", "ρ*", "slope at the knee", "hypervolume"]
    ]
    for one in found:
        rho = "" if one.rho is None else f"{one.rho:.3f} {ends(one.rho_interval)}".rstrip()
        slope = "" if one.slope is None else f"{one.slope:.2f} {ends(one.slope_interval)}".rstrip()
        area = f"{one.hypervolume:.3f} {ends(one.hypervolume_interval, '{:.4g}')}".rstrip()
        rows.append(
            [
                *(one.family, cell(one.where), str(one.n_configs), str(one.n_non_dominated)),
                *(f"{one.knee} ({one.x:.3f}, {one.y:.3f})", rho, slope, area),
            ]
        )
    return rows


def shift_rows(found: Sequence[Shift]) -> Rows:
    """Differences of trade-offs."""
    rows = [["at", "quantity", "families", "first", "second", "difference", "interval", "p", "draws"]]
    for one in found:
        p = "" if one.p_holm is None else f"{one.p_holm:.3f}{'*' if one.differs else ''}"
        rows.append(
            [
                *(cell(one.where), quantity(one), f"{one.second} − {one.first}"),
                *(f"{one.first_value:.3f}", f"{one.second_value:.3f}", f"{one.difference:+.3f}"),
                *(ends(one.interval, "{:+.3f}"), p, one.method),
            ]
        )
    return rows


def quantity(shift: Shift) -> str:
    """``ρ*`` or ``slope at the knee``."""
    return "ρ*" if shift.quantity == RHO else "slope at the knee"


def cell(where: dict[str, Any]) -> str:
    """``bert-mini, frac 0.5``, or ``all runs``."""
    parts = (str(value) if isinstance(value, str) else f"{key} {value:g}" for key, value in where.items())
    return ", ".join(parts) or "all runs"


def shift_verdicts(record: Families) -> list[str]:
    """One sentence for every pair of families whose trade-offs over all runs were tested."""
    said = []
    for one in record.shifts:
        if one.differs is None or one.where:
            continue
        apart = f"{one.difference:+.3f} {ends(one.interval, '{:+.3f}')}, p = {one.p_holm:.2g}"
        if one.differs:
            more, less = (one.second, one.first) if one.difference > 0 else (one.first, one.second)
            found = f"is larger in {more} than in {less}"
        else:
            found = f"is not told apart in {one.first} and {one.second}"
        said.append(f"{quantity(one)} over all runs {found}: {one.second} less {one.first} {apart}")
    return said


def verdicts(record: Families) -> list[str]:
    """One sentence for every slope that families differ in, or that they are not told apart in."""
    said = []
    for test in record.tests:
        if test.differs is None:
            continue
        name = f"{symbol(test)} of {test.metric} ({test.strategy}, {test.law})"
        apart = f"{test.difference:+.3f} {ends(test.interval, '{:+.3f}')}, p = {test.p_holm:.2g}"
        if test.differs:
            more, less = (test.second, test.first) if test.difference > 0 else (test.first, test.second)
            said.append(f"{name} is larger in {more} than in {less}: {test.second} less {test.first} {apart}")
        else:
            both = f"{test.first} and {test.second}"
            said.append(f"{name} is not told apart in {both}: {test.second} less {test.first} {apart}")
    return said


def describe(record: Families) -> list[str]:
    """Lines for the terminal."""
    percent = f"{100 * record.level:g} %"
    lines = [
        f"{', '.join(record.families)}: sizes equal within {100 * record.tolerance:g} %, {percent} intervals"
    ]
    parts = (
        ("laws", slope_rows(record), 6),
        (f"tests ({record.method}; p by Holm's method, * differs)", test_rows(record), 5),
        (
            "at equal N, D and FLOPs (mean over places; the places are in the file)",
            gap_rows(means(record)),
            5,
        ),
        (
            f"frontiers, hypervolume up to {place(dict(zip(record.metrics, record.reference)))}",
            tradeoff_rows(record.frontiers),
            2,
        ),
        ("trade-offs (seed noise drawn anew; p by Holm's method, * differs)", shift_rows(record.shifts), 3),
    )
    for title, rows, left in parts:
        if len(rows) > 1:
            lines += [f"{title}:", *aligned(rows, left=left)]
    return lines + verdicts(record) + shift_verdicts(record) + describe_warnings(record.warnings)

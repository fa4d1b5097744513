"""The statistics as lines for the terminal, as tables of the report and as CSV files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from sweeps.fitting.present import aligned, describe_warnings
from sweeps.robustness.record import KindStatistics, Robustness
from sweeps.robustness.words import number
from sweeps.table.files import write_table

Rows = list[list[str]]

MAX_MATRIX = 12
"""Groups of a win matrix on a terminal."""


def effect_rows(record: Robustness) -> Rows:
    """Fixed effects of all kinds below a heading."""
    rows = [["kind", "effect", "against", "estimate", "low", "high", "d", "p", "p (Holm)"]]
    for kind in record.kinds:
        for one in kind.mixed.effects if kind.mixed else ():
            numbers = (one.estimate, one.low, one.high, one.size, one.p, one.p_holm)
            rows.append([kind.kind, one.name, one.against, *map(number, numbers)])
    return rows


def share_rows(record: Robustness) -> Rows:
    """Variance shares of all kinds below a heading, in per cent."""
    parts = ("model", "run", "collection", "query", "run × collection", "residual")
    rows = [["kind", *parts, "runs", "scores"]]
    for kind in record.kinds:
        if kind.mixed is not None:
            shares = [kind.mixed.shares.get(part) for part in parts]
            cells = ["" if share is None else f"{100 * share:.1f}" for share in shares]
            rows.append([kind.kind, *cells, str(kind.mixed.n_runs), str(kind.mixed.n_scores)])
    return rows


def difference_rows(record: Robustness) -> Rows:
    """Paired differences of all kinds below a heading."""
    heading = ["kind", "first", "second", "difference", "low", "high", "new collections", "p", "p (Holm)"]
    rows = [[*heading, "pairs"]]
    for kind in record.kinds:
        for one in kind.differences:
            wide = ""
            if one.domains is not None:
                wide = f"[{number(one.domains[0])}, {number(one.domains[1])}]"
            ends = map(number, (one.difference, one.low, one.high))
            tested = map(number, (one.p, one.p_holm))
            rows.append([kind.kind, one.first, one.second, *ends, wide, *tested, str(one.pairs)])
    return rows


def win_rows(record: Robustness) -> Rows:
    """Win probabilities of all kinds below a heading."""
    rows = [["kind", "first", "second", "P(first wins)", "low", "high", "p", "p (Holm)"]]
    for kind in record.kinds:
        for one in kind.wins:
            numbers = (one.probability, one.low, one.high, one.p, one.p_holm)
            rows.append([kind.kind, one.first, one.second, *map(number, numbers)])
    return rows


TABLES = {
    "effects": effect_rows,
    "variance-shares": share_rows,
    "differences": difference_rows,
    "wins": win_rows,
}
"""Name of a table -> its rows, a heading first."""


def win_matrix(kind: KindStatistics) -> Rows:
    """P(row wins against column), below a heading; a star marks what is decided."""
    names = list(dict.fromkeys(name for one in kind.wins for name in (one.first, one.second)))
    found = {}
    for one in kind.wins:
        mark = "*" if one.p_holm < 0.05 else ""
        found[one.first, one.second] = f"{one.probability:.2f}{mark}"
        found[one.second, one.first] = f"{1 - one.probability:.2f}{mark}"
    rows = [[kind.kind, *names]]
    return rows + [[name, *(found.get((name, other), "–") for other in names)] for name in names]


def describe(record: Robustness) -> list[str]:
    """Lines for the terminal: what varies, effects and differences in words, win matrices, warnings."""
    lines = [f"{record.metric} by {record.by}, against {record.baseline}; p values: {record.correction}."]
    shares = share_rows(record)
    if len(shares) > 1:
        lines += ["", "Shares of the variance of a query's score, in per cent:", *aligned(shares, left=1)]
    for kind in record.kinds:
        lines += ["", *_of_kind(kind, record)]
    return [*lines, *describe_warnings(record.warnings)]


def _of_kind(kind: KindStatistics, record: Robustness) -> Iterator[str]:
    collections = ", ".join(f"{name} ({count})" for name, count in kind.collections.items())
    yield f"{kind.kind}: {kind.runs} runs on {collections}"
    if kind.mixed is not None:
        yield f"  mixed model, {kind.mixed.formula}, {kind.mixed.df} degrees of freedom:"
        yield from (f"    {one.words}" for one in kind.mixed.effects)
    if kind.differences:
        yield f"  paired by run and query, {100 * record.level:g} % bootstrap interval:"
        for one in kind.differences:
            wide = ""
            if one.domains is not None:
                # The sentence turns a fall into an amount.
                ends = sorted(-end if one.difference < 0 else end for end in one.domains)
                wide = f"; over new collections [{number(ends[0])}, {number(ends[1])}]"
            yield f"    {one.words}{wide}"
    matrix = win_matrix(kind)
    if 2 < len(matrix) <= MAX_MATRIX + 1:
        yield "  probability that the row wins against the column at a query (* decided):"
        yield from (f"    {line}" for line in aligned(matrix, left=1))


def write_tables(record: Robustness, folder: Path) -> list[Path]:
    """Write every table as CSV into ``folder``; returns the files."""
    paths = []
    for name, build in TABLES.items():
        heading, *rows = build(record)
        paths.append(folder / f"robustness-{name}.csv")
        write_table(pd.DataFrame(rows, columns=heading), paths[-1])
    return paths

"""The page on several model families: a curve each, exponents, equal N, D and FLOPs, frontiers."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.comparison.families import families
from sweeps.comparison.families.present import (
    gap_rows,
    means,
    shift_rows,
    shift_verdicts,
    slope_rows,
    test_rows,
    tradeoff_rows,
    verdicts,
)
from sweeps.comparison.families.record import Families
from sweeps.comparison.families.slices import OTHER, comparable_slices
from sweeps.fitting.points import levels_of
from sweeps.report.curves import COLUMN, Axis, curve
from sweeps.report.figures.families import Strand, curves_panel, planes_panel, shifts_panel
from sweeps.report.figures.style import Panel
from sweeps.report.page import PageTable, Section
from sweeps.report.scaling import slug
from sweeps.report.written import Written
from sweeps.table.families import FAMILY, in_order

MAX_STRATEGIES = 3
"""Strategies drawn in one figure of curves."""

MAX_VERDICTS = 6
"""Sentences on slopes; the table has all."""


def families_sections(runs: pd.DataFrame, written: Written) -> list[Section]:
    """The sections on all families together, and the links to the page of each.

    ``runs``: labelled, of several families. Where they cannot be compared, a section says why.
    """
    scaling = Section("families", "Comparing families")
    each = Section("each-family", "Every family by itself")
    each.paragraphs.append(
        "Laws, strategies and their comparisons within one family: they are never fitted across families."
    )
    each.links = [(f"{slug(name)}/index.html", name) for name in in_order(runs)]
    try:
        record = written.find(Families, scaling) or families(runs)
    except ParetrieveError as error:
        scaling.missing("NO_FAMILIES", str(error))
        return [scaling, each]
    scaling.hold("families", record, record.warnings, "comparison of families")
    scaling.paragraphs += [_conditions(record), *(f"{text}." for text in verdicts(record)[:MAX_VERDICTS])]
    scaling.panels = _curves(runs, record)
    scaling.tables = [
        _table(slope_rows(record), 6, "families-slopes"),
        _table(test_rows(record), 5, "families-tests"),
    ]
    equal = Section("families-equal", "At equal N, at equal D, at equal FLOPs")
    equal.paragraphs.append(
        "Second family less first; negative is better for contrastive entropy. At equal N and D both were "
        "run there and runs of one seed are paired; a value marked “between” is interpolated between the "
        "family's own measured points, and nothing is extrapolated. p values are corrected by Holm's "
        "method; a star marks what is decided."
    )
    equal.tables = [
        _table(gap_rows(means(record)), 5, "families-equal-means"),
        _table(gap_rows([gap for gap in record.equal if gap.places == 1]), 5, "families-equal"),
    ]
    plane = Section("families-frontier", "The frontier of every family")
    plane.paragraphs += [f"{text}." for text in shift_verdicts(record)[:MAX_VERDICTS]]
    plane.panels = [panel for panel in (planes_panel(record, runs), shifts_panel(record)) if panel]
    plane.tables = [
        _table(tradeoff_rows(record.frontiers), 2, "families-frontiers"),
        _table(tradeoff_rows(record.cells), 2, "families-cells"),
        _table(shift_rows(record.shifts), 3, "families-shifts"),
    ]
    for section in (scaling, equal, plane):
        section.tables = [table for table in section.tables if table.rows]
    return [scaling, equal, plane, each]


def _conditions(record: Families) -> str:
    counts = ", ".join(f"{name} ({one.n_runs} runs)" for name, one in record.families.items())
    text = (
        f"{counts}. Sizes within {100 * record.tolerance:g} % count as equal. A law is fitted within each "
        f"family. Tests: {record.method}, corrected by Holm's method."
    )
    stages = {one.first_stage for one in record.families.values()}
    if len(stages) > 1:
        text += " Ranking metrics are not compared: the families do not rank the same passages."
    return text


def _table(rows: list[list[str]], left: int, name: str) -> PageTable:
    headings, *cells = rows
    numeric = [k >= left for k in range(len(headings))]
    return PageTable(headings, numeric, cells, f"tables/{name}.csv")


def _curves(runs: pd.DataFrame, record: Families) -> list[Panel]:
    panels = []
    for axis in ("D", "N"):
        for metric in record.metrics:
            strands = _strands(runs, record, axis, metric)
            if len({one.family for one in strands}) > 1:
                name = f"families-{axis}-{metric.split('/')[0]}"
                panels.append(curves_panel(strands, list(record.families), name))
    return panels


def _strands(runs: pd.DataFrame, record: Families, axis: Axis, metric: str) -> Sequence[Strand]:
    """The curves of all families and strategies along an axis, at one value of the other where they can."""
    found = []
    known = runs[runs[metric].notna() & runs[COLUMN["N"]].notna() & runs[COLUMN["D"]].notna()]
    levels = levels_of(known[COLUMN["N"]].to_numpy(float), record.tolerance)
    known = known.assign(level=levels)
    for label in record.strategies[:MAX_STRATEGIES]:
        rows = known[known["label"] == label]
        parts = {name: part for name in record.families if len(part := rows[rows[FAMILY] == name])}
        for one in comparable_slices(parts, axis, least=2):
            other = float(one.rows[COLUMN[OTHER[axis]]].mode().iloc[0])
            drawn = curve(one.rows, label, axis, metric, other, fitted="quick")
            if len(drawn.points):
                found.append(Strand(one.family, drawn))
    return found

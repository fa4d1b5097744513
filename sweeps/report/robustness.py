"""Sections on kinds of robustness: which comes with scale, and statistics that separate model from data."""

from __future__ import annotations

import pandas as pd

from sweeps.report.curves import labels_for_curves
from sweeps.report.figures.robustness import RESOURCE, exponents_panel, shares_panel
from sweeps.report.page import PageTable, Section, interval
from sweeps.report.written import Written
from sweeps.robustness.present import difference_rows, effect_rows, share_rows, win_rows
from sweeps.robustness.record import Robustness
from sweeps.robustness.scale import Exponent, exponents, measures

MAX_LABELS = 4
"""Strategies whose exponents stand beside each other."""

MAX_SENTENCES = 12
"""Effects in words; the tables have all."""

OUTSIDE = 2
"""Kinds that every sweep has, effectiveness and OOD: with others the section says more than the curves do."""


def kinds_section(runs: pd.DataFrame) -> Section | None:
    """Exponents of every kind beside effectiveness; ``None`` with no kind but those of every sweep."""
    if len(measures(runs)) <= OUTSIDE:
        return None
    section = Section("kinds", "Which robustness comes with scale")
    found: list[Exponent] = []
    for label in labels_for_curves(runs, limit=MAX_LABELS)[:MAX_LABELS]:
        own, refused = exponents(runs, label)
        found += own
        section.notes += [f"No exponent or fewer runs: {reason}." for reason in refused]
    if not found:
        return None
    section.paragraphs.append(
        "The exponent is the mean relative fall of a kind's loss per relative growth of the resource over "
        "this sweep, from a power law without a floor, so that kinds compare. The loss is the contrastive "
        "entropy; of attacks the area under their curve; of biases the distance of the preference from one "
        "half. The difference from effectiveness is paired by run."
    )
    section.panels = [panel for axis in RESOURCE if (panel := exponents_panel(found, axis))]
    section.tables = [_exponents_table(found)]
    return section


def _exponents_table(found: list[Exponent]) -> PageTable:
    rows = []
    for one in found:
        beside = ""
        if one.difference is not None:
            value, low, high = one.difference
            beside = f"{value:+.3f} {interval((low, high))}"
        ends = interval((one.low, one.high))
        rows.append(
            [
                one.kind,
                one.label,
                RESOURCE[one.axis],
                f"{one.value:.3f}",
                ends,
                beside,
                one.verdict,
                str(one.runs),
            ]
        )
    headings = [
        "kind",
        "strategy",
        "resource",
        "exponent",
        "95 % interval",
        "less effectiveness's",
        "verdict",
    ]
    numeric = [False] * 3 + [True] * 3 + [False, True]
    return PageTable([*headings, "runs"], numeric, rows, "tables/kinds.csv")


def statistics_section(written: Written) -> Section | None:
    """What ``python -m sweeps robustness`` wrote; ``None`` where it wrote nothing."""
    section = Section("statistics", "Statistics: model or data")
    record = written.find(Robustness, section)
    if record is None:
        return section if section.notes else None
    section.hold("robustness", record, record.warnings, "statistics over queries")
    section.paragraphs.append(
        f"Over the {record.metric.replace('_', ' ')} of every query. The mixed model has runs, collections "
        "and queries as random effects; its intervals are Student's, between runs. p values: "
        f"{record.correction}. d is the effect in standard deviations of a query's score."
    )
    sentences = [effect.words for kind in record.kinds if kind.mixed for effect in kind.mixed.effects]
    section.paragraphs += [f"{text}." for text in sentences[:MAX_SENTENCES]]
    section.panels = [panel for panel in (shares_panel(record),) if panel]
    tables = (
        _table(share_rows(record), 1, "variance-shares"),
        _table(effect_rows(record), 3, "effects"),
        _table(difference_rows(record), 3, "differences"),
        _table(win_rows(record), 3, "wins"),
    )
    section.tables = [table for table in tables if table.rows]
    return section


def _table(rows: list[list[str]], left: int, name: str) -> PageTable:
    headings, *cells = rows
    return PageTable(
        headings, [k >= left for k in range(len(headings))], cells, f"tables/robustness-{name}.csv"
    )

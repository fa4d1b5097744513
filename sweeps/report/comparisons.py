"""The section on comparisons that were written and no other section shows: other metrics, other baselines."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from sweeps.comparison.record import Comparison, cell_rows, change_rows
from sweeps.records import Record
from sweeps.report.page import Finding, PageTable, Section
from sweeps.report.written import Written, with_conditions

WIDE = 3
"""Metrics that stand beside each other; more are rows."""


def comparisons_section(written: Written, shown: Collection[Record]) -> Section | None:
    """One table a record of ``python -m sweeps compare``; ``None`` where all are ``shown`` elsewhere."""
    section = Section("comparisons", "Other comparisons, seed by seed")
    for path, record in written.every(Comparison, section):
        if all(record is not other for other in shown):
            section.findings += [Finding(found, f"comparison in {path.name}") for found in record.warnings]
            section.tables += _tables(path, record)
    if not section.tables:
        return None
    section.paragraphs.append(
        "Mean differences over the seeds that both sides were run with, their t intervals, and p values of "
        "no difference, corrected over the cells of a table for each metric; a star marks what is decided."
    )
    return section


def _tables(path: Path, record: Comparison) -> list[PageTable]:
    title = with_conditions(record.title, record.source)
    places, ((_, *heads), *rows) = cell_rows(record)
    found = [_table(path.stem, [title, *heads], rows, places)]
    if changed := change_rows(record):
        (_, _, *heads), *rows = changed
        found.append(_table(f"{path.stem}-changes", [f"change of {title}", "less that of", *heads], rows, 3))
    return found


def _table(stem: str, heads: list[str], rows: list[list[str]], places: int) -> PageTable:
    """``places``: columns before those of the metrics."""
    rows = [[word.rstrip() for word in row] for row in rows]
    if len(heads) - places > WIDE:
        rows, heads = _turned(rows, heads, places)
    numeric = [place > 0 for place in range(len(heads))]
    return PageTable(heads, numeric, rows, f"tables/comparison-{stem}.csv")


def _turned(rows: list[list[str]], heads: list[str], places: int) -> tuple[list[list[str]], list[str]]:
    """Metrics as rows and cells as columns; what says where a column is stands in its heading."""
    cells = [", ".join(filter(None, [row[0], *row[1 : places - 1]])) for row in rows]
    turned = [[name, *(row[places + k] for row in rows)] for k, name in enumerate(heads[places:])]
    return turned, [heads[0], *cells]

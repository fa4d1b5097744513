"""The section on comparisons that were written and no other section shows: other metrics, other baselines."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from sweeps.comparison.record import Comparison, Judged, judged
from sweeps.records import Record
from sweeps.report.page import Finding, PageTable, Section
from sweeps.report.written import Written

WIDE = 3
"""Metrics that stand beside each other; more are rows."""

_Line = tuple[list[str], Mapping[str, Judged]]
"""Words of a cell, and its differences by metric."""


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
    chosen = any(cell.baseline != record.baseline for cell in record.cells)
    title = record.title
    if record.source is not None and record.source.where:
        title += f" ({', '.join(record.source.where)})"
    lines = [
        ([cell.name, *([cell.baseline] if chosen else []), str(next(iter(cell.by.values())).n)], cell.by)
        for cell in record.cells
    ]
    heads = [title, *(["baseline"] if chosen else []), "pairs"]
    found = [_table(path.stem, heads, lines, list(record.counts))]
    if record.changes:
        moved = [
            ([one.cell, one.first, str(next(iter(one.by.values())).n)], one.by) for one in record.changes
        ]
        heads = [f"change of {title}", "less that of", "pairs"]
        found.append(_table(f"{path.stem}-changes", heads, moved, list(record.counts)))
    return found


def _table(stem: str, heads: list[str], lines: Sequence[_Line], names: list[str]) -> PageTable:
    rows = [
        [*words, *(judged(by[name]).rstrip() if name in by else "" for name in names)] for words, by in lines
    ]
    heads = [*heads, *names]
    if len(names) > WIDE:
        rows, heads = _turned(rows, heads, len(heads) - len(names))
    numeric = [place > 0 for place in range(len(heads))]
    return PageTable(heads, numeric, rows, f"tables/comparison-{stem}.csv")


def _turned(rows: list[list[str]], heads: list[str], places: int) -> tuple[list[list[str]], list[str]]:
    """Metrics as rows and cells as columns; what says where a column is stands in its heading."""
    cells = [", ".join(filter(None, [row[0], *row[1 : places - 1]])) for row in rows]
    turned = [[name, *(row[places + k] for row in rows)] for k, name in enumerate(heads[places:])]
    return turned, [heads[0], *cells]

"""The section on training losses and dev metrics as proxies of test metrics."""

from __future__ import annotations

from pathlib import Path

from sweeps.comparison.alignment import Alignment, proxy_rows, training_rows
from sweeps.report.page import Finding, PageTable, Section
from sweeps.report.written import Written, with_conditions


def proxies_section(written: Written) -> Section | None:
    """Tables of each record of ``python -m sweeps alignment``; ``None`` without any."""
    section = Section("proxies", "Training losses and dev metrics as proxies of test metrics")
    for path, record in written.every(Alignment, section):
        section.tables += _tables(path, record)
        section.findings += [Finding(found, path.name) for found in record.warnings or []]
    if section.tables:
        section.paragraphs.append(
            "Spearman's rank correlation of each proxy with the test metric of the same name, across all "
            "configurations and within cells, and the regret: nats of that metric that are lost by the "
            "choice with the lowest proxy, against the best choice of the cell. Intervals are over cells. "
            "Where a run measures dev losses as it goes, agreement is the rank correlation of a training "
            "loss with its dev loss over the steps, with an interval over runs."
        )
    return section if section.tables or section.notes else None


def _tables(path: Path, record: Alignment) -> list[PageTable]:
    (_, *heads), *rows = proxy_rows(record)
    among = with_conditions(f"proxy, for a choice among {record.among}", record.source)
    numeric = [False, False, *[True] * (len(heads) - 1)]
    tables = [PageTable([among, *heads], numeric, rows, f"tables/{path.stem}.csv")]
    heads, *rows = training_rows(record)
    if rows:
        numeric = [False, False, True, True]
        tables.append(PageTable(heads, numeric, rows, f"tables/{path.stem}-over-steps.csv"))
    return tables

"""The section on training losses and dev metrics as proxies of test metrics."""

from __future__ import annotations

from sweeps.comparison.alignment import Alignment, proxy_rows
from sweeps.report.page import Finding, PageTable, Section
from sweeps.report.written import Written


def proxies_section(written: Written) -> Section | None:
    """One table a record of ``python -m sweeps alignment``; ``None`` without any."""
    section = Section("proxies", "Training losses and dev metrics as proxies of test metrics")
    for path, record in written.every(Alignment, section):
        (_, *heads), *rows = proxy_rows(record)
        among = f"proxy, for a choice among {', '.join(record.labels)}"
        numeric = [False, False, *[True] * (len(heads) - 1)]
        section.tables.append(PageTable([among, *heads], numeric, rows, f"tables/{path.stem}.csv"))
        section.findings += [Finding(found, path.name) for found in record.warnings or []]
    if not section.tables:
        return None
    section.paragraphs.append(
        "Spearman's rank correlation of each proxy with the test metric of the same name, across all "
        "configurations and within cells, and the regret: nats of that metric that are lost by the choice "
        "with the lowest proxy, against the best choice of the cell. Intervals are over cells."
    )
    return section

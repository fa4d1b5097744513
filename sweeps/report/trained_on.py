"""The section on which robust-training domain helps which test domain."""

from __future__ import annotations

from sweeps.comparison.domains import Domains, matrix_rows
from sweeps.report.figures.domains import domains_panel
from sweeps.report.page import PageTable, Section
from sweeps.report.written import Written, with_conditions


def trained_on_section(written: Written) -> Section | None:
    """Matrix and table of each record of ``python -m sweeps domains``; ``None`` without any."""
    section = Section("trained-on", "Which training domain helps which test domain")
    for path, record in written.every(Domains, section):
        section.hold(path.stem, record, record.warnings or (), f"matrix in {path.name}")
        section.panels.append(domains_panel(record, f"trained-on-{path.stem}"))
        (first, *headings), *rows = matrix_rows(record)
        numeric = [place > 0 for place in range(1 + len(headings))]
        first = with_conditions(first, record.source)
        section.tables.append(
            PageTable([first, *headings], numeric, rows, f"tables/trained-on-{path.stem}.csv")
        )
        section.paragraphs.append(
            f"{record.metric.replace('_', ' ')}: {record.strategy} less {record.baseline}, paired by seed, "
            f"with half of the {100 * record.level:g} % interval over seeds."
        )
    return section if section.tables or section.notes else None

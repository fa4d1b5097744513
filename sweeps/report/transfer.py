"""The section on transfer: trained against one perturbation, tested on every kind of robustness."""

from __future__ import annotations

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.report.figures.transfer import transfer_panel
from sweeps.report.page import PageTable, Section
from sweeps.report.written import Written
from sweeps.robustness.transfer import PERTURBATION, Transfer, measures_of, rows_of, transfer

EVERY_SWEEP = 2
"""Measures that every sweep has, effectiveness and OOD: a matrix needs another."""


def transfer_section(runs: pd.DataFrame, written: Written) -> Section | None:
    """The matrix; ``None`` where no run was trained against a perturbation or nothing new was measured."""
    trained = PERTURBATION in runs and runs[PERTURBATION].notna().any()
    if not trained or len(measures_of(runs)) <= EVERY_SWEEP:
        return None
    section = Section("transfer", "Trained against one perturbation, tested on all")
    try:
        record = written.find(Transfer, section) or transfer(runs)
    except ParetrieveError as error:
        section.notes.append(f"There is no transfer matrix: {error}.")
        return section
    section.hold("transfer", record, record.warnings or (), "transfer matrix")
    section.paragraphs.append(
        f"Difference from {record.baseline}, paired by cell and seed, with half of its "
        f"{100 * record.level:g} % interval; negative is better for entropies, attacks and biases. Entropies "
        f"are in nats. A star marks what is decided ({record.correction})."
    )
    section.panels = [transfer_panel(record)]
    headings, *rows = rows_of(record)
    numeric = [place > 0 for place in range(len(headings))]
    section.tables = [PageTable(headings, numeric, rows, "tables/transfer.csv")]
    return section

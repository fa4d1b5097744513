"""The transfer matrix as a map of colours."""

from __future__ import annotations

import numpy as np

from retrieval.run.metric_names import larger_is_better
from sweeps.report.figures.matrix import draw_matrix
from sweeps.report.figures.style import Panel, drawing
from sweeps.robustness.transfer import Entry, Transfer

FAINTEST = 0.05
"""Relative change at which the colours end where none is larger: rounding is no pattern."""


def transfer_panel(record: Transfer) -> Panel:
    """Rows trained against, columns tested on: blue helps, red harms, relative to the baseline's value."""
    rows, columns, matrix = record.rows(), record.columns(), record.matrix()
    harm = np.full((len(rows), len(columns)), np.nan)
    for (row, column), entry in matrix.items():
        harm[rows.index(row), columns.index(column)] = _harm(entry)
    most = max(FAINTEST, float(np.nanmax(np.abs(harm))))
    with drawing(width=2.6 + 0.95 * len(columns), height=1.6 + 0.45 * len(rows)) as (figure, axes):
        texts = (
            (rows.index(row), columns.index(column), _text(entry)) for (row, column), entry in matrix.items()
        )
        draw_matrix(axes, harm, most, texts, (rows, columns))
        axes.set(xlabel="tested on", ylabel="trained against")
        axes.set_title(f"Transfer of robustness, less {record.baseline}")
        caption = (
            f"Each entry is the row's value less that of {record.baseline}, paired by cell and seed; blue "
            "helps and red harms, by the change relative to its value. A star marks what is decided after "
            "correction."
        )
        return Panel("transfer", caption, figure)


def _text(entry: Entry) -> str:
    return f"{entry.judged.difference:+.3f}" + ("*" if entry.judged.better else "")


def _harm(entry: Entry) -> float:
    """The relative change to the worse."""
    judged = entry.judged
    sign = -1.0 if larger_is_better(entry.column) else 1.0
    return sign * judged.difference / max(abs(judged.baseline), 1e-12)

"""The matrix of training and test domains as a map of colours."""

from __future__ import annotations

import numpy as np

from retrieval.run.metric_names import larger_is_better
from sweeps.comparison.domains import Domains
from sweeps.report.figures.matrix import draw_matrix
from sweeps.report.figures.style import Panel, drawing


def domains_panel(found: Domains, name: str = "domains") -> Panel:
    """Rows trained on, columns tested on: blue where the row helps the column, red where it harms."""
    matrix, tests = found.matrix(), found.tests()
    values = np.full((len(matrix), len(tests)), np.nan)
    for row, effects in enumerate(matrix.values()):
        for test, judged in effects.items():
            values[row, tests.index(test)] = judged.difference
    largest = float(np.nanmax(np.abs(values))) or 1.0
    colours = "RdBu" if larger_is_better(found.metric) else "RdBu_r"
    with drawing(width=2.6 + 0.75 * len(tests), height=1.6 + 0.45 * len(matrix)) as (figure, axes):
        known = np.argwhere(np.isfinite(values))
        texts = ((row, column, f"{values[row, column]:+.2f}") for row, column in known)
        draw_matrix(axes, values, largest, texts, (list(matrix), tests), colours)
        axes.set(xlabel="tested on", ylabel="trained on beside in-domain")
        axes.set_title(f"{found.metric.replace('_', ' ')}, less {found.baseline}")
    caption = (
        f"What training on the row brings to tests on the column: {found.strategy} less {found.baseline}, "
        "paired by seed; blue helps and red harms."
    )
    return Panel(name, caption, figure)

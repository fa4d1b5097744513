"""One fit a group: ``--by strategy`` and its like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.errors import FitRefusedError, missing_column
from sweeps.fitting.bootstrap import Progress
from sweeps.fitting.configurations import label_runs
from sweeps.fitting.fit import fit_law
from sweeps.fitting.points import Columns
from sweeps.fitting.result import FitOptions, FitResult


@dataclass(frozen=True)
class GroupedFits:
    """Fits by group, and the groups that could not be fitted with the reason."""

    by: str
    fits: dict[str, FitResult]
    refused: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """``fit.json`` of a grouped fit: ``by``, ``groups`` and ``refused``."""
        groups = {name: fit.to_json() for name, fit in self.fits.items()}
        return {"by": self.by, "groups": groups, "refused": self.refused}


def split(table: pd.DataFrame, by: str) -> dict[str, pd.DataFrame]:
    """Rows by group, in order of name.

    ``strategy`` separates what is trained differently: fixed values of ω, rules and base strategies too.
    Raises TableError on an unknown column.
    """
    if by not in table:
        raise missing_column(by, table.columns)
    keys = label_runs(table)["label"] if by == "strategy" else table[by].astype(str)
    return {str(name): rows for name, rows in table.groupby(keys, sort=True)}


def fit_groups(
    table: pd.DataFrame,
    by: str,
    *,
    law: str,
    metric: str,
    columns: Columns | None = None,
    options: FitOptions | None = None,
    progress: Progress | None = None,
) -> GroupedFits:
    """Fit each group; arguments as :func:`sweeps.fitting.fit.fit_law`.

    A group that is refused (too few sizes, say) does not stop the others. Raises FitRefusedError when all
    are refused, and TableError when the table itself lacks what is needed.
    """
    fits: dict[str, FitResult] = {}
    refused: dict[str, str] = {}
    groups = split(table, by)
    if metric not in table:
        raise missing_column(metric, table.columns)
    total = len(groups)
    for position, (name, rows) in enumerate(groups.items()):

        def step(done: int, count: int, position: int = position) -> None:
            if progress is not None:
                progress(position * count + done, total * count)

        try:
            fits[name] = fit_law(
                rows, law=law, metric=metric, columns=columns, options=options, progress=step
            )
        except ParetrieveError as error:
            refused[name] = str(error)
    if not fits:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise FitRefusedError("ALL_GROUPS_REFUSED", f"no group of {by} can be fitted: {reasons}")
    return GroupedFits(by, fits, refused)

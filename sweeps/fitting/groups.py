"""One fit a group: ``--by strategy`` and its like."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps import Progress
from sweeps.diagnostics import Diagnostic, FitRefusedError, TableError, require_columns
from sweeps.fitting.configurations import label_runs
from sweeps.fitting.fit import fit_law
from sweeps.fitting.points import Columns
from sweeps.fitting.result import FitOptions, FitResult
from sweeps.records import OPTIONAL, Record
from sweeps.table.cells import LeftOut, is_blank, texts_of
from sweeps.table.families import FAMILY, column_of, with_families
from sweeps.table.runs import Source

OF_OMEGA = ("base_strategy", "omega/rule", "omega/robust", "omega/mixing", "omega/final")
"""Columns that only strategies with a weight ω fill."""

ALONE = "all"
"""Name of the one group of a fit without ``--by``."""


@dataclass(frozen=True)
class FitFile(Record):
    """``fit.json``: fits by group and those refused; the file of one fit alone is its record."""

    command: ClassVar[str] = "fit"

    by: str | None
    groups: dict[str, FitResult]
    refused: dict[str, str]
    """Group -> reason."""
    source: Source | None = field(default=None, metadata=OPTIONAL)
    warnings: list[Diagnostic] | None = field(default=None, metadata=OPTIONAL)
    """Of rows that are in no group."""

    def without(self, rows: Sequence[LeftOut]) -> FitFile:
        """The file that says which rows were left out: the one fit does, or the file of several."""
        if not rows:
            return self
        said = [one.finding for one in rows]
        if self.by is not None:
            return replace(self, warnings=[*said, *(self.warnings or [])])
        groups = {name: replace(fit, warnings=[*said, *fit.warnings]) for name, fit in self.groups.items()}
        return replace(self, groups=groups)

    def to_json(self) -> dict[str, Any]:
        """The record; without ``by`` that of the one fit."""
        if self.by is not None:
            return super().to_json()
        return replace(self.groups[ALONE], source=self.source).to_json()

    @classmethod
    def decode(cls, data: Any, where: str) -> Self:
        """Either kind of file."""
        if isinstance(data, dict) and "groups" not in data:
            fit = FitResult.decode(data, where)
            return cls(None, {ALONE: fit}, {}, fit.source)
        return super().decode(data, where)


def split(table: pd.DataFrame, by: str) -> tuple[dict[str, pd.DataFrame], list[LeftOut]]:
    """Rows by group, in order of name, and the rows that are in no group.

    ``strategy`` separates what is trained differently: fixed values of ω, rules and base strategies too.
    A setting of ω belongs to some strategies; rows of the others form a group for each strategy. Other rows
    without a value are in no group; one without a family is a dual encoder.

    Raises TableError on an unknown column, and where no row has a value.
    """
    by = by if by in table else column_of(by)
    if by == FAMILY:
        table = with_families(table)
    require_columns(table, by)
    blank = is_blank(table[by])
    keys = pd.Series(texts_of(table[by]), index=table.index)
    if by == "strategy":
        keys = label_runs(table)["label"]
    elif by in OF_OMEGA and "strategy" in table:
        others = blank & ~is_blank(table["strategy"])
        keys[others] = [f"{label} (no {by})" for label in label_runs(table)["label"][others]]
        blank = blank & ~others
    if blank.all():
        raise TableError(f"no row has a value of {by}; choose another column for --by")
    left = LeftOut.of(table, blank, f"without a value of {by}")
    kept = table[~blank]
    return {str(name): rows for name, rows in kept.groupby(keys[~blank], sort=True)}, left


def fit_groups(
    table: pd.DataFrame,
    by: str | None,
    *,
    law: str,
    metric: str,
    columns: Columns | None = None,
    options: FitOptions | None = None,
    progress: Progress | None = None,
    held_out: pd.Series | None = None,
) -> FitFile:
    """Fit each group, or one of all rows without ``by``; arguments as :func:`sweeps.fitting.fit.fit_law`.

    A group that is refused (too few sizes, say) does not stop the others. ``held_out``: the mask, bool[rows],
    of rows that belong to their group but not to its fit. Raises FitRefusedError when all are refused, and
    TableError when the table itself lacks what is needed.
    """
    apart = pd.Series(False, index=table.index) if held_out is None else held_out
    if by is None:
        rows = table[~apart]
        fit = fit_law(rows, law=law, metric=metric, columns=columns, options=options, progress=progress)
        return FitFile(None, {ALONE: fit}, {})
    fits: dict[str, FitResult] = {}
    refused: dict[str, str] = {}
    groups, left = split(table, by)
    require_columns(table, metric)
    total = len(groups)
    for position, (name, rows) in enumerate(groups.items()):

        def step(done: int, count: int, position: int = position) -> None:
            if progress is not None:
                progress(position * count + done, total * count)

        own = rows[~apart[rows.index]]
        if own.empty:
            refused[name] = "all its rows are held out, so no law of its own predicts them"
            continue
        try:
            fits[name] = fit_law(own, law=law, metric=metric, columns=columns, options=options, progress=step)
        except ParetrieveError as error:
            refused[name] = str(error)
    if not fits:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in refused.items())
        raise FitRefusedError("ALL_GROUPS_REFUSED", f"no group of {by} can be fitted: {reasons}")
    return FitFile(column_of(by), fits, refused).without(left)

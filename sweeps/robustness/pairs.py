"""Which runs of two groups form pairs: those of one cell and seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from retrieval.errors import ConfigError
from sweeps.fitting.configurations import label_order
from sweeps.table.cells import cell_text, is_blank, seeds_of, texts_of
from sweeps.table.families import FAMILY

CELL = ("data", FAMILY, "model", "frac", "label")
"""Columns in which the runs of a pair agree, but for the one that tells the groups apart."""

RUN = "run"


@dataclass(frozen=True)
class Pairs:
    """Pairs of runs of two groups, as rows of one table."""

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    """[pairs] rows."""
    cell: NDArray[np.intp]
    """[pairs], 0 … cells−1: pairs of one cell differ in their seed."""
    lone: int
    """Runs of either group without a partner."""

    @property
    def cells(self) -> int:
        """Number of cells."""
        return int(self.cell.max()) + 1 if len(self.cell) else 0


def group_column(by: str) -> str:
    """The column that tells the groups of ``--by`` apart: labels tell strategies apart."""
    return "label" if by in ("strategy", "label") else by


def groups(runs: pd.DataFrame, by: str) -> NDArray[np.object_]:
    """The group of every labelled run as text[k], ``""`` for none.

    Raises ConfigError: unknown column, or fewer than two groups.
    """
    column = group_column(by)
    if column not in runs:
        raise ConfigError(f"--by {by}: no such column; choose among strategy, model, {FAMILY}, frac, run")
    found = texts_of(runs[column])
    found[is_blank(runs[column])] = ""
    if len(set(found) - {""}) < 2:
        only = ", ".join(sorted(set(found) - {""})) or "none"
        raise ConfigError(f"--by {by}: the runs have one value ({only}); statistics compare two or more")
    return found


def ordered(names: Sequence[str]) -> list[str]:
    """Groups in the order of the report: ``standard`` first, fixed ω by value, others by name."""
    return sorted(set(names) - {""}, key=label_order)


def pair(runs: pd.DataFrame, of: NDArray[np.object_], by: str, first: str, second: str) -> Pairs:
    """The pairs of two groups; ``of``: the group of each row of ``runs``.

    Runs of one cell and seed form pairs; several of one cell and seed are taken in their order. With
    ``--by run`` the two runs are the pair, wherever they stand.
    """
    rows = [np.flatnonzero(of == name) for name in (first, second)]
    if by == RUN:
        return Pairs(rows[0][:1], rows[1][:1], np.zeros(1, dtype=np.intp), 0)
    keys = [column for column in CELL if column in runs and column != group_column(by)]
    seeds = seeds_of(runs)
    places: list[dict[tuple[str, ...], int]] = [{}, {}]
    for side, members in zip(places, rows):
        seen: dict[tuple[str, ...], int] = {}
        for row in members.tolist():
            where = (*(cell_text(runs[key].iloc[row]) for key in keys), cell_text(seeds.iloc[row]))
            seen[where] = seen.get(where, -1) + 1
            side[(*where, str(seen[where]))] = row
    shared = sorted(set(places[0]) & set(places[1]))
    cells = {where: k for k, where in enumerate(dict.fromkeys(key[:-2] for key in shared))}
    return Pairs(
        np.array([places[0][key] for key in shared], dtype=np.intp),
        np.array([places[1][key] for key in shared], dtype=np.intp),
        np.array([cells[key[:-2]] for key in shared], dtype=np.intp),
        sum(len(side) - len(shared) for side in places),
    )

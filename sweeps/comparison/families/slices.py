"""Which rows of a family a law is fitted to, so that families have theirs under equal conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from sweeps.fitting.points import PAIRS, SIZE

MIN_LEVELS = 3
ENOUGH = 7
"""Configurations from which a family gets a law in N and D."""

COLUMN = {"N": SIZE, "D": PAIRS}
OTHER = {"N": "D", "D": "N"}


@dataclass(frozen=True)
class Slice:
    """The rows of one family that a law is fitted to."""

    family: str
    rows: pd.DataFrame
    at: dict[str, float]
    place: float = 0.0
    """Level of the resource that is held; equal in families that are held at the same."""


def is_grid(part: pd.DataFrame) -> bool:
    """Whether rows of one family suffice for a law in N and D."""
    sizes, pairs = part[SIZE].nunique(), part[PAIRS].nunique()
    return min(sizes, pairs) >= MIN_LEVELS and len(part.groupby([SIZE, PAIRS])) >= ENOUGH


def comparable_slices(parts: Mapping[str, pd.DataFrame], axis: str, least: int = MIN_LEVELS) -> list[Slice]:
    """Of every family the slice that most families have, then that with most levels, then the largest.

    ``parts``: family -> rows with N, D and ``level``. Slices with fewer than ``least`` values of N (or D)
    along ``axis`` do not count.
    """
    across = "level" if axis == "D" else PAIRS
    counts = {name: part.groupby(across)[COLUMN[axis]].nunique() for name, part in parts.items()}
    enough = {name: found[found >= least] for name, found in counts.items()}
    shared = pd.Series([value for found in enough.values() for value in found.index]).value_counts()
    slices = []
    for name, found in enough.items():
        if not len(found):
            continue
        best = max(found.index, key=lambda value: (shared[value], found[value], value))
        rows = parts[name][parts[name][across] == best]
        other = OTHER[axis]
        slices.append(Slice(name, rows, {other: float(rows[COLUMN[other]].median())}, float(best)))
    return slices

"""``efficiency.json``: what ``python -m sweeps efficiency`` writes and the report reads.

A multiplier is a number, ``"unbounded"`` (no amount suffices, or none that was measured) or ``"below"`` (the
least amount measured is already more than enough).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pandas as pd

from sweeps.diagnostics import Diagnostic
from sweeps.fitting.laws import plain_names
from sweeps.fitting.result import FitOptions
from sweeps.records import OPTIONAL, SPREAD, Record
from sweeps.table.runs import Source

Written = float | str


@dataclass(frozen=True)
class Summary(Record):
    """Multipliers [s] at the scales of a curve, with their intervals; ``None`` with too few draws."""

    multiplier: list[Written]
    low: list[Written] | None
    high: list[Written] | None
    unbounded_share: list[float] | None

    def at(self, position: int) -> Multiplier:
        """The multiplier at one scale."""
        parts = (self.low, self.high, self.unbounded_share)
        found: list[Any] = [None if values is None else values[position] for values in parts]
        return Multiplier(self.multiplier[position], *found)


@dataclass(frozen=True)
class Multiplier(Record):
    """One multiplier."""

    multiplier: Written
    low: Written | None
    high: Written | None
    unbounded_share: float | None


@dataclass(frozen=True, kw_only=True)
class Place(Record):
    """Where a slice lies: the other resource."""

    name: str
    other: dict[str, float] = field(metadata=SPREAD)
    """Column and value."""


@dataclass(frozen=True, kw_only=True)
class Row(Record):
    """All multipliers at one scale."""

    at: Place
    law: str
    scale: float
    range: list[float]
    """The least and the largest multiplier that the baseline's runs can show at this scale."""
    by: dict[str, Multiplier] = field(metadata=SPREAD)
    """By metric, and ``both`` and ``each``."""


@dataclass(frozen=True, kw_only=True)
class Level(Record):
    """The row of one level at which the strategy was run."""

    resource: str
    row: Row = field(metadata=SPREAD)


@dataclass(frozen=True)
class Curve(Record):
    """Multipliers on one resource along one slice."""

    resource: str
    at: Place
    law: str
    scale: list[float]
    ran: list[float]
    """The scales at which the strategy was run."""
    by: dict[str, Summary]
    """By metric, and ``both`` and ``each``."""
    baseline_range: list[float]

    def row(self, position: int) -> Row:
        """The multipliers at one scale."""
        scale = self.scale[position]
        return Row(
            at=self.at,
            law=self.law,
            scale=scale,
            range=[amount / scale for amount in self.baseline_range],
            by={name: summary.at(position) for name, summary in self.by.items()},
        )

    def levels(self) -> list[Level]:
        """The rows at which the strategy was run."""
        ran = [position for position, scale in enumerate(self.scale) if scale in self.ran]
        return [Level(resource=self.resource, row=self.row(position)) for position in ran]


@dataclass(frozen=True)
class Efficiency(Record):
    """The whole record."""

    command: ClassVar[str] = "efficiency"

    baseline: str
    strategy: str
    metrics: list[str]
    law: str
    level: float
    headline: dict[str, Row]
    """For every resource the row of the largest scale that was run."""
    levels: list[Level]
    curves: list[Curve]
    """Those of one resource in order of the other."""
    refused: dict[str, str]
    """Resource -> why it has no curve."""
    warnings: list[Diagnostic]
    source: Source | None = field(default=None, metadata=OPTIONAL)

    def last(self, resource: str) -> Curve:
        """The curve of ``resource`` at the largest amount of the other."""
        return [curve for curve in self.curves if curve.resource == resource][-1]

    def fullest(self, resource: str) -> Curve:
        """The curve of ``resource`` with the most levels that were run; of equals that of :meth:`last`."""
        curves = [curve for curve in self.curves if curve.resource == resource]
        return max(reversed(curves), key=lambda curve: len(curve.ran))


Resource = Literal["N", "D", "FLOPs"]
Axis = Literal["N", "D"]
Parts = tuple[pd.DataFrame, pd.DataFrame]
"""Labelled runs of the baseline and of the strategy."""

INTERPOLATED = "interpolated"


def sources() -> tuple[str, ...]:
    """Where the baseline's curve may come from.

    ``auto``: joint where both strategies have three sizes and three amounts of data, else ``single``, a law
    in one axis for each slice, with two parameters for three levels and three for more. A law in N and D is
    fitted to all runs at once. ``interpolated``: no law but what was measured, joined by straight lines in
    ln metric against ln resource.
    """
    return ("auto", *plain_names({"N", "D"}), "single", INTERPOLATED)


@dataclass(frozen=True)
class EfficiencyOptions:
    """What is compared and how; all of it is written to ``efficiency.json``."""

    metrics: tuple[str, ...] = ("eff/contrastive_entropy", "ood/contrastive_entropy")
    law: str = "auto"
    """One of :func:`sources`."""
    resources: tuple[Resource, ...] = ("N", "D", "FLOPs")
    fit: FitOptions = field(default_factory=FitOptions)
    """How laws are fitted; its ``level``, ``bootstrap`` and ``seed`` hold for ``interpolated`` too."""

"""What is compared and how, and what a source of multipliers must offer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import pandas as pd

from sweeps.diagnostics import Diagnostic
from sweeps.fitting.laws import LAWS, Floats, plain_names
from sweeps.fitting.points import Columns
from sweeps.fitting.result import FitOptions

Resource = Literal["N", "D", "FLOPs"]
Axis = Literal["N", "D"]
Parts = tuple[pd.DataFrame, pd.DataFrame]
"""Labelled runs of the baseline and of the strategy."""

INTERPOLATED = "interpolated"


def sources() -> dict[str, str]:
    """Where the baseline's curve may come from: name -> what it is."""
    return {
        "auto": "joint where both strategies have three sizes and three amounts of data, else single",
        **{name: f"{LAWS[name].help}, fitted to all runs at once" for name in plain_names({"N", "D"})},
        "single": "a law in one axis for each slice, two parameters with three levels, three with more",
        INTERPOLATED: "no law: what was measured, joined by straight lines in ln metric against ln resource",
    }


@dataclass(frozen=True)
class EfficiencyOptions:
    """What is compared and how; all of it is written to ``efficiency.json``."""

    metrics: tuple[str, ...] = ("eff/contrastive_entropy", "ood/contrastive_entropy")
    law: str = "auto"
    """One of :func:`sources`."""
    resources: tuple[Resource, ...] = ("N", "D", "FLOPs")
    fit: FitOptions = field(default_factory=FitOptions)
    """How laws are fitted; its ``level``, ``bootstrap`` and ``seed`` hold for ``interpolated`` too."""


class Multipliers(Protocol):
    """Multipliers of every metric on one slice, with draws that all metrics share."""

    @property
    def forms(self) -> str:
        """What the multipliers rest on, such as ``data-no-floor``."""

    def scale(self, levels: Floats) -> Floats:
        """Where the multiplier is evaluated, given the levels [l] at which the strategy was run."""

    def multiplier(self, k: int, axis: Axis, scale: Floats, other: float) -> tuple[Floats, Floats]:
        """Multiplier [s] of metric k at the scales, and its draws [r, s]; ``inf``: no amount suffices."""


class MultiplierSource(Protocol):
    """Makes :class:`Multipliers` of slices, and collects what is to be said about them."""

    law: str
    warnings: list[Diagnostic]

    def levels(self, resource: Resource) -> tuple[int, int]:
        """Least number of levels that baseline and strategy need on a slice."""

    def pair(self, parts: Parts, axis: Axis, columns: Columns, resource: Resource) -> Multipliers:
        """Multipliers of the slice that ``parts`` are."""

"""What is compared and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from sweeps.fitting.laws import plain_names
from sweeps.fitting.result import FitOptions

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

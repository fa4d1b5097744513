"""What is compared and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from sweeps.fitting.laws import LAWS, plain_names
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

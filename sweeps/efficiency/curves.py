"""Curves of multipliers: one for every slice of a resource that has levels enough."""

from __future__ import annotations

import numpy as np
import pandas as pd

from sweeps.efficiency.multipliers import summaries
from sweeps.efficiency.options import (
    INTERPOLATED,
    Axis,
    EfficiencyOptions,
    Multipliers,
    MultiplierSource,
    Parts,
    Resource,
)
from sweeps.efficiency.record import Curve, Place, Summary
from sweeps.errors import FitRefusedError
from sweeps.fitting.configurations import FLOPS
from sweeps.fitting.points import PAIRS, SIZE, Columns


def curves(
    parts: Parts, resource: Resource, source: MultiplierSource, options: EfficiencyOptions
) -> list[Curve]:
    """Curves of one resource, one for every value of the other, the largest last.

    On FLOPs only the slice with the most training pairs counts.

    Raises:
        FitRefusedError: no slice has levels enough, or its law cannot be inverted.
    """
    axis: Axis = "D" if resource == "D" else "N"
    columns = Columns(n=FLOPS if resource == "FLOPs" else SIZE)
    for name in (columns.n, columns.d):
        if any(name not in part for part in parts):
            raise FitRefusedError("FEWER_THAN_3_LEVELS", f"the runs do not say {name}")
    along, across = (columns.d, columns.n) if axis == "D" else (columns.n, columns.d)
    slices = sorted(set(parts[0][across]) & set(parts[1][across]))
    found = []
    for value in slices[-1:] if resource == "FLOPs" else slices:
        first, second = (part[part[across] == value] for part in parts)
        least = source.levels(resource)
        if first[along].nunique() < least[0] or second[along].nunique() < least[1]:
            continue
        pair = source.pair((first, second), axis, columns, resource)
        levels = np.unique(second[along].to_numpy(float))
        place = Place(name=_name(second, across, value), other={across: float(value)})
        reach = [float(first[along].min()), float(first[along].max())]
        scale, by = _summaries(pair, axis, levels, float(value), options)
        found.append(Curve(resource, place, pair.forms, scale, levels.tolist(), by, reach))
    if not found:
        least = source.levels(resource)
        enough = str(least[0]) if least[0] == least[1] else f"{least[0]} (the strategy {least[1]})"
        text = f"{along} has fewer than {enough} values in common at every {across}"
        raise FitRefusedError("FEWER_THAN_3_LEVELS", text)
    return found


def _name(part: pd.DataFrame, across: str, value: float) -> str:
    if across == SIZE and "model" in part and part["model"].nunique() == 1:
        return str(part["model"].iloc[0])
    return f"{value:,.0f}" + (" pairs" if across == PAIRS else "")


def _summaries(
    pair: Multipliers, axis: Axis, levels: np.ndarray, other: float, options: EfficiencyOptions
) -> tuple[list[float], dict[str, Summary]]:
    """The scales [s] of a slice, and the multipliers there."""
    scale = pair.scale(levels)
    found = {name: pair.multiplier(k, axis, scale, other) for k, name in enumerate(options.metrics)}
    return scale.tolist(), summaries(found, options.fit.level, pair.forms == INTERPOLATED)

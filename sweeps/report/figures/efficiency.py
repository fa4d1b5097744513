"""Efficiency multipliers as curves over scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from sweeps.efficiency import JOINT, UNBOUNDED
from sweeps.report.figures.curves import objective_name
from sweeps.report.figures.style import INK, MUTED, Panel, drawing, legend_below, log_axis

AXIS = {
    "N": "non-embedding parameters N",
    "D": "training pairs D",
    "FLOPs": "training FLOPs",
}
_LOOKS = (("#0072B2", "-"), ("#D55E00", "-"), ("#009E73", "-"))
CEILING = 100.0
"""Multipliers beyond this are drawn at the upper edge: the axis would show little else."""


def efficiency_panel(record: dict[str, Any], resource: str) -> Panel:
    """Multipliers on one resource against scale, for each metric and for all together.

    Args:
        record: of :func:`sweeps.efficiency.efficiency`.
        resource: one with a curve in the record.
    """
    curve = [item for item in record["curves"] if item["resource"] == resource][-1]
    scale = np.array(curve["scale"])
    top = 1.0
    with drawing() as (figure, axes):
        for name, (colour, style) in zip(record["metrics"], _LOOKS):
            summary = curve["by"][name]
            values = _values(summary["multiplier"])
            axes.plot(scale, np.clip(values, None, CEILING), style, color=colour, label=objective_name(name))
            if summary["low"] is not None:
                low, high = (np.clip(_values(summary[key]), 1e-3, CEILING) for key in ("low", "high"))
                axes.fill_between(scale, low, high, color=colour, alpha=0.13, linewidth=0)
                top = max(top, float(high.max()))
            lost = np.isinf(values)
            axes.plot(scale[lost], np.full(lost.sum(), CEILING), "^", color=colour, markersize=4)
            top = max(top, float(np.clip(values, None, CEILING).max()))
        both = np.clip(_values(curve["by"][JOINT]["multiplier"]), None, CEILING)
        axes.plot(scale, both, ":", color=INK, linewidth=2.2, label="both together")
        axes.axhline(1.0, color=MUTED, linewidth=0.9, linestyle="--")
        axes.set_xscale("log")
        log_axis(axes, "x", scale.tolist())
        log_axis(axes, "y", [0.8, top])
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.set(xlabel=f"{AXIS[resource]} of {record['strategy']}", ylabel=f"{record['baseline']} needs")
        axes.set_title(f"Multiplier on {resource}, {curve['at']['name']}")
        legend_below(figure, axes)
        caption = (
            f"How many times as much {AXIS[resource]} {record['baseline']} needs to match "
            f"{record['strategy']} ({curve['at']['name']}), with {100 * record['level']:g} % intervals of a "
            "paired bootstrap. Triangles at the edge: more than "
            f"{CEILING:g}×, or no amount suffices under the fitted law."
        )
        return Panel(f"efficiency-{resource}", caption, figure)


def _values(numbers: list[float | str]) -> np.ndarray:
    return np.array([np.inf if value == UNBOUNDED else float(value) for value in numbers])

"""Efficiency multipliers as curves over scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter

from sweeps.multipliers import JOINT, UNBOUNDED
from sweeps.report.figures.curves import objective_name
from sweeps.report.figures.style import INK, MUTED, Panel, drawing, legend_below, log_axis

AXIS = {
    "N": "non-embedding parameters N",
    "D": "training pairs D",
    "FLOPs": "training FLOPs",
}
_COLOURS = ("#0072B2", "#D55E00", "#009E73")
CEILING = 100.0
"""Multipliers beyond this, or below its inverse, are drawn at the edge: the axis would show little else."""


def efficiency_panel(record: dict[str, Any], resource: str) -> Panel:
    """Multipliers on one resource against scale, for each metric and for all together.

    Args:
        record: of :func:`sweeps.efficiency.efficiency`.
        resource: one with a curve in the record.
    """
    curve = [item for item in record["curves"] if item["resource"] == resource][-1]
    scale = np.array(curve["scale"])
    reach = [0.8, 1.25]
    with drawing() as (figure, axes):
        for name, colour in zip(record["metrics"], _COLOURS):
            summary = curve["by"][name]
            values = _values(summary["multiplier"])
            axes.plot(scale, _inside(values), color=colour, label=objective_name(name))
            if summary["low"] is not None:
                low, high = (_inside(_values(summary[key])) for key in ("low", "high"))
                axes.fill_between(scale, low, high, color=colour, alpha=0.13, linewidth=0)
                reach += [float(low.min()), float(high.max())]
            lost = np.isinf(values)
            axes.plot(scale[lost], np.full(lost.sum(), CEILING), "^", color=colour, markersize=4)
            reach += _inside(values).tolist()
        both = _inside(_values(curve["by"][JOINT]["multiplier"]))
        axes.plot(scale, both, ":", color=INK, linewidth=2.2, label="both together")
        axes.axhline(1.0, color=MUTED, linewidth=0.9, linestyle="--")
        log_axis(axes, "x", scale.tolist())
        log_axis(axes, "y", reach)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.set(xlabel=f"{AXIS[resource]} of {record['strategy']}", ylabel=f"{record['baseline']} needs")
        axes.set_title(f"Multiplier on {resource}, {curve['at']['name']}")
        legend_below(figure, axes)
        return Panel(f"efficiency-{resource}", _caption(record, resource, curve), figure)


def _caption(record: dict[str, Any], resource: str, curve: dict[str, Any]) -> str:
    summaries = curve["by"].values()
    text = (
        f"How many times as much {AXIS[resource]} {record['baseline']} needs to match {record['strategy']} "
        f"({curve['at']['name']})"
    )
    if any(summary["low"] is not None for summary in summaries):
        text += f", with {100 * record['level']:g} % intervals of a paired bootstrap"
    if any(UNBOUNDED in summary["multiplier"] for summary in summaries):
        text += ". Triangles: no amount suffices under the fitted law"
    return f"{text}. Curves end at {CEILING:g}× and 1/{CEILING:g}×."


def _values(numbers: list[float | str]) -> np.ndarray:
    return np.array([np.inf if value == UNBOUNDED else float(value) for value in numbers])


def _inside(values: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(values, 1 / CEILING, CEILING))

"""Efficiency multipliers as curves over scale."""

from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from sweeps.efficiency.multipliers import BELOW, BOTH, EACH, IN_WORDS, UNBOUNDED
from sweeps.efficiency.record import INTERPOLATED, Curve, Efficiency
from sweeps.report.figures.curves import AXIS_NAME, objective_name
from sweeps.report.figures.style import INK, MUTED, Panel, drawing, log_axis

AXIS = AXIS_NAME | {"FLOPs": "training FLOPs"}
_COLOURS = ("#0072B2", "#D55E00", "#009E73")
CEILING = 100.0
"""Multipliers beyond this, or below its inverse, are drawn at the edge: the axis would show little else."""


def efficiency_panel(record: Efficiency, resource: str) -> Panel:
    """Multipliers on a resource of the record against scale, for each metric and for all together.

    Of several sizes the one with the most levels is drawn, and of equals the largest.
    """
    curve = record.fullest(resource)
    scale = np.array(curve.scale)
    measured = curve.law == INTERPOLATED
    reach = [0.8, 1.25]
    with drawing() as (figure, axes):
        for name, colour in zip(record.metrics, _COLOURS):
            reach += _metric(axes, curve, name, colour)
        for name, dashes in ((BOTH, (1, 1)), (EACH, (3, 1.5))):
            values, lost = _drawn(curve, name, "multiplier")
            line = np.where(lost & measured, np.nan, values)
            axes.plot(scale, line, color=INK, linewidth=2.0, linestyle=(0, dashes), label=IN_WORDS[name])
        if measured:
            view = axes.get_ylim()
            limit = curve.baseline_range[1] / scale
            axes.plot(scale, limit, color=MUTED, linewidth=0.9, label="largest run")
            axes.set_ylim(view)
        axes.axhline(1.0, color=MUTED, linewidth=0.9, linestyle="--")
        log_axis(axes, "x", scale.tolist())
        log_axis(axes, "y", reach)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
        axes.set(xlabel=f"{AXIS[resource]} of {record.strategy}", ylabel=f"{record.baseline} needs")
        as_measured = ", as measured" if measured else ""
        axes.set_title(f"Multiplier on {resource}, {curve.at.name}{as_measured}")
        name = f"efficiency-{resource}" + (f"-{INTERPOLATED}" if measured else "")
        return Panel(name, _caption(record, resource, curve), figure)


def _metric(axes: Axes, curve: Curve, name: str, colour: str) -> list[float]:
    """One metric's line with its band; returns the heights that the axis must reach."""
    scale = np.array(curve.scale)
    values, lost = _drawn(curve, name, "multiplier")
    measured = curve.law == INTERPOLATED
    line = np.where(lost & measured, np.nan, values)
    marker = "o" if measured else ""
    axes.plot(scale, line, color=colour, marker=marker, markersize=4, label=objective_name(name))
    axes.plot(scale[lost], values[lost], "^", color=colour, markersize=5)
    reach: list[float] = values.tolist()
    if curve.by[name].low is not None:
        low, nothing_known = _drawn(curve, name, "low")
        high, _ = _drawn(curve, name, "high")
        known = ~(nothing_known & measured)
        axes.fill_between(scale, low, high, where=known, color=colour, alpha=0.13, linewidth=0)
        reach += [float(low.min()), float(high.max())]
    return reach


def _caption(record: Efficiency, resource: str, curve: Curve) -> str:
    summaries = curve.by.values()
    text = (
        f"How many times as much {AXIS[resource]} {record.baseline} needs to match {record.strategy} "
        f"({curve.at.name})"
    )
    if any(summary.low is not None for summary in summaries):
        over = "seeds" if curve.law == INTERPOLATED else "configurations"
        text += f", with {100 * record.level:g} % intervals of a paired bootstrap over {over}"
    if any(UNBOUNDED in summary.multiplier for summary in summaries):
        if curve.law == INTERPOLATED:
            text += ". Triangles: more than the largest amount the baseline was run with (grey line)"
        else:
            text += ". Triangles: no amount suffices under the fitted law"
    return f"{text}. Curves end at {CEILING:g}× and 1/{CEILING:g}×."


def _drawn(
    curve: Curve, name: str, key: Literal["multiplier", "low", "high"]
) -> tuple[np.ndarray, np.ndarray]:
    """Heights [s] of one name's ``multiplier``, ``low`` or ``high``, and which of them are unbounded.

    What lies outside the baseline's runs stands at their end.
    """
    numbers = getattr(curve.by[name], key)
    lost = np.array([value == UNBOUNDED for value in numbers])
    least, most = np.full(len(lost), 1 / CEILING), np.full(len(lost), CEILING)
    if curve.law == INTERPOLATED:
        least, most = (end / np.array(curve.scale) for end in curve.baseline_range)
    heights = [
        top if value == UNBOUNDED else bottom if value == BELOW else float(value)
        for value, bottom, top in zip(numbers, least, most)
    ]
    return np.clip(heights, 1 / CEILING, CEILING), lost

"""Mixture laws: E and R against ω at each number of pairs, and the best ω against the number of pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from sweeps.fitting.bootstrap import interval
from sweeps.mixture.optimum import logits, omega_of
from sweeps.mixture.record import Mixture, MixtureCell
from sweeps.report.figures.curves import AXIS_NAME, metric_name
from sweeps.report.figures.style import INK, Panel, drawing, log_axis, quantity, shades

_NAMES = {"eff": "Effectiveness", "rob": "Robustness"}
_STEPS = 60

Cells = Sequence[MixtureCell]


def mixture_panels(record: Mixture) -> list[Panel]:
    """All figures of a ``mixture.json`` record: E and R of every model size, and ω* of all."""
    sizes = sorted({cell.params_non_embedding for cell in record.cells})
    panels = []
    for size in sizes:
        cells = _of_size(record, size)
        for key in ("eff", "rob"):
            panels.append(_curves(record, cells, key, "" if len(sizes) == 1 else f"-{size:.0f}"))
    return [*panels, optimum_panel(record)]


def _of_size(record: Mixture, size: float) -> list[MixtureCell]:
    cells = [cell for cell in record.cells if cell.params_non_embedding == size]
    return sorted(cells, key=lambda cell: cell.train_pairs)


def _curves(record: Mixture, cells: Cells, key: str, suffix: str) -> Panel:
    metric = record.metrics[key]
    with drawing() as (figure, axes):
        values: list[float] = []
        for cell, shade in zip(cells, shades(len(cells))):
            values += _one_cell(axes, cell, key, shade)
        axes.set_xlim(-0.03, 1.03)
        log_axis(axes, "y", values)
        axes.set_ylim(min(values) / 1.05, max(values) * 1.08)
        axes.set(
            xlabel="share ω of the robustness loss",
            ylabel=metric_name(metric),
            title=f"{_NAMES[key]} against ω{_size(cells) if suffix else ''}",
        )
        caption = (
            f"{metric} against ω at each number of training pairs{_size(cells)}: means over seeds with their "
            f"range, the fitted law {record.form[key]}, and its lowest point (ring)."
        )
        return Panel(f"mixture-{key}{suffix}", caption, figure)


def _one_cell(axes: Axes, cell: MixtureCell, key: str, shade: str) -> list[float]:
    """Draw one cell and return the measured values, which set the limits of the axis."""
    omega = [row.omega for row in cell.frontier]
    fitted = [getattr(row, key) for row in cell.frontier]
    label = f"{quantity(cell.train_pairs)} pairs"
    axes.plot(omega, fitted, color=shade, linewidth=1.4)
    ends = [end for row in cell.measured for end in getattr(row, f"{key}_range")]
    for row in cell.measured:
        axes.vlines(row.omega, *getattr(row, f"{key}_range"), color=shade, linewidth=1.0)
    measured = [(row.omega, getattr(row, key)) for row in cell.measured]
    axes.plot(*zip(*measured), "o", color=shade, label=label, zorder=4)
    best = cell.optimum[key].omega
    axes.plot(best, np.interp(best, omega, fitted), "o", color=INK, markersize=9, markerfacecolor="none")
    return ends


def _size(cells: Cells) -> str:
    return f", N = {quantity(cells[0].params_non_embedding)}"


def optimum_panel(record: Mixture) -> Panel:
    """The knee's ω* against D: the joint law's with intervals, and the log-linear law with its band."""
    sizes = sorted({cell.params_non_embedding for cell in record.cells})
    pairs = [cell.train_pairs for cell in record.cells]
    with drawing() as (figure, axes):
        for size, shade in zip(sizes, shades(len(sizes))):
            cells = _of_size(record, size)
            label = f"N = {quantity(size)}" if len(sizes) > 1 else "joint law"
            for cell in cells:
                knee = cell.optimum["knee"]
                axes.vlines(cell.train_pairs, knee.low, knee.high, color=shade, linewidth=1.2)
            best = [cell.optimum["knee"].omega for cell in cells]
            axes.plot([cell.train_pairs for cell in cells], best, "o", color=shade, label=label, zorder=4)
            _law(axes, record, size, (min(pairs) / 1.5, max(pairs) * 2.0), shade)
        log_axis(axes, "x", pairs)
        axes.set_ylim(0, 1)
        axes.set(xlabel=AXIS_NAME["D"], ylabel="best ω", title="Best ω against training pairs")
        caption = (
            "The ω that minimises E + R: points are the joint law's at each cell with "
            f"{100 * record.level:g} % intervals, lines logit ω* = a + b·ln D + c·ln N with its band."
        )
        return Panel("mixture-optimum", caption, figure)


def _law(axes: Axes, record: Mixture, size: float, ends: tuple[float, float], shade: str) -> None:
    law = record.optimum["knee"]
    d = np.geomspace(*ends, _STEPS)
    n = np.full(_STEPS, size)
    own = np.array([law.intercept, law.ln_train_pairs, law.ln_params_non_embedding])
    low, high = interval(logits(np.array(law.draws), n, d), record.level)
    drawn = [omega_of(part) for part in (logits(own, n, d), low, high)]
    axes.plot(d, drawn[0], color=shade)
    axes.fill_between(d, drawn[1], drawn[2], color=shade, alpha=0.14, linewidth=0)

"""The joint law as a surface over model size and training pairs."""

from __future__ import annotations

import numpy as np

from sweeps.fitting.result import FitResult
from sweeps.report.figures.curves import AXIS_NAME, objective_name
from sweeps.report.figures.style import INK, Panel, drawing, log_axis


def surface_panel(label: str, metric: str, fit: FitResult, name: str) -> Panel:
    """Level lines of a fitted joint law, with the observed configurations in the same colours."""
    points = fit.points
    n = np.geomspace(points["N"].min() / 1.15, points["N"].max() * 1.3, 70)
    d = np.geomspace(points["D"].min() / 1.15, points["D"].max() * 1.3, 70)
    values = fit.predict(n[None, :], d[:, None])
    # A law may run away just outside the data; the levels are those that were observed.
    low, high = float(points["observed"].min()) / 1.03, float(points["observed"].max()) * 1.03
    levels = np.geomspace(low, high, 10)
    with drawing() as (figure, axes):
        axes.contourf(n, d, values, levels=levels, cmap="cividis_r", alpha=0.85, extend="both")
        lines = axes.contour(n, d, values, levels=levels[1:-1], colors="white", linewidths=0.8)
        # Light where the entropy is low: dark figures there, white ones on the dark side.
        inks = [INK if level < np.sqrt(low * high) else "white" for level in levels[1:-1]]
        axes.clabel(lines, fmt=lambda value: f"{value:.2g}", fontsize=7, colors=inks)
        axes.scatter(
            points["N"],
            points["D"],
            c=points["observed"],
            cmap="cividis_r",
            vmin=low,
            vmax=high,
            edgecolors="white",
            linewidths=1.1,
            s=34,
            zorder=4,
        )
        log_axis(axes, "x", [float(value) for value in n])
        log_axis(axes, "y", [float(value) for value in d])
        axes.set(
            xlabel=AXIS_NAME["N"],
            ylabel=AXIS_NAME["D"],
            title=f"Joint law, {objective_name(metric)}, {label}",
        )
        caption = (
            f"{objective_name(metric)} of {label} under {fit.form.formula}: level lines of the contrastive "
            "entropy, and the configurations (white rings) filled with what was observed."
        )
        errors = [item.code for item in fit.warnings if item.level == "error"]
        if errors:
            caption += f" This fit carries {', '.join(dict.fromkeys(errors))}: do not read numbers off it."
        return Panel(name, caption, figure)

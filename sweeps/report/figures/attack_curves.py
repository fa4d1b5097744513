"""Curves of attacks: a figure for each attack, a line a strategy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sweeps.report.figures.style import HEIGHT, Look, Panel, drawing, looks
from sweeps.robustness.attack_curves import AttackCurve

UNITS = {"wsra": "words replaced", "typo": "characters", "paragraph": "pieces put in", "poison": "passages"}
"""What a unit of an attack's budget is, where it is known."""

LEGEND_ROW = 0.16
"""Inches of the legend's rows, of two entries each."""


def attack_curves_panel(attack: str, curves: Sequence[AttackCurve]) -> Panel:
    """The top-10 rate of an attack against its budget, a line a strategy; bands are intervals over runs."""
    known = looks([one.label for one in curves])
    with drawing(height=HEIGHT + LEGEND_ROW * (len(curves) // 2)) as (figure, axes):
        for one in curves:
            _draw(axes, one, known[one.label])
        axes.set(xlabel=f"budget: {UNITS.get(attack, 'units')}", ylabel="rate in the top 10")
        axes.set_title(f"Attack {attack}")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    share = "test queries with an inserted passage" if attack == "poison" else "targets"
    caption = (
        f"The share of {share} in the top 10, had the attack been given that budget. Mean over the runs of "
        f"{curves[0].where}; bands are 95 % intervals of the mean. Lower is more robust."
    )
    return Panel(f"attack-curve-{attack}", caption, figure)


def _draw(axes: Axes, curve: AttackCurve, look: Look) -> None:
    budgets = np.arange(len(curve.rates))
    axes.plot(
        budgets,
        curve.rates,
        color=look.colour,
        marker=look.marker,
        markersize=3,
        linewidth=1.3,
        label=curve.label,
    )
    if np.isfinite(curve.half).all():
        low, high = np.clip(curve.rates - curve.half, 0, 1), np.clip(curve.rates + curve.half, 0, 1)
        axes.fill_between(budgets, low, high, color=look.colour, alpha=0.15, linewidth=0)

"""Curves of attacks: small multiples, one for each attack, a line a strategy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from sweeps.report.figures.style import Look, Panel, looks, small_multiples
from sweeps.robustness.attack_curves import AttackCurve

UNITS = {"wsra": "words replaced", "typo": "characters", "paragraph": "pieces put in", "poison": "passages"}
"""What a unit of an attack's budget is, where it is known."""


def attack_curves_panel(curves: Sequence[AttackCurve]) -> Panel:
    """The top-10 rate of every attack against its budget; bands are intervals over the runs."""
    attacks = list(dict.fromkeys(one.attack for one in curves))
    known = looks(list(dict.fromkeys(one.label for one in curves)))
    with small_multiples(len(attacks)) as (figure, grid):
        for attack, axes in zip(attacks, grid, strict=True):
            for one in (one for one in curves if one.attack == attack):
                _draw(axes, one, known[one.label])
            axes.set(
                xlabel=f"budget: {UNITS.get(attack, 'units')}", ylabel="rate in the top 10", title=attack
            )
            axes.set_ylim(bottom=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    caption = (
        "The share of targets (of poison: of test queries) in the top 10, had the attack been given that "
        f"budget. Mean over the runs of {curves[0].where}; bands are 95 % intervals of the mean. Lower is "
        "more robust."
    )
    return Panel("attack-curves", caption, figure)


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

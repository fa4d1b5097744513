"""Figures on kinds of robustness: which comes with scale, and what varies with model, run and data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeps.report.figures.style import MUTED, Panel, drawing, looks
from sweeps.robustness.record import Robustness
from sweeps.robustness.scale import Exponent

RESOURCE = {"N": "model size N", "D": "training pairs D"}

_PARTS = ("model", "run", "collection", "query", "run × collection", "residual")
_SHADES = ("#D55E00", "#E69F00", "#0072B2", "#56B4E9", "#009E73", "#d0d0d0")


def exponents_panel(found: Sequence[Exponent], axis: str) -> Panel | None:
    """The exponents of every kind along one axis, a marker a strategy; ``None`` without any."""
    own = [one for one in found if one.axis == axis]
    if not own:
        return None
    kinds = list(dict.fromkeys(one.kind for one in own))
    labels = list(dict.fromkeys(one.label for one in own))
    styles = looks(labels)
    with drawing(height=1.3 + 0.34 * len(kinds)) as (figure, axes):
        axes.axvline(0, color=MUTED, linewidth=0.8)
        for k, label in enumerate(labels):
            aside = 0.16 * (k - (len(labels) - 1) / 2)
            for one in (one for one in own if one.label == label):
                y = kinds.index(one.kind) + aside
                ends = [one.value if end is None else end for end in (one.low, one.high)]
                axes.plot(ends, [y, y], color=styles[label].colour, linewidth=1.2)
                axes.plot(one.value, y, styles[label].marker, color=styles[label].colour, zorder=4)
            axes.plot([], [], styles[label].marker, color=styles[label].colour, label=label)
        axes.set_yticks(range(len(kinds)), kinds)
        axes.set_ylim(len(kinds) - 0.5, -0.5)
        axes.set(xlabel=f"exponent in {RESOURCE[axis]}", title=f"What comes with {RESOURCE[axis]}")
    caption = (
        f"How fast the loss of each kind falls with {RESOURCE[axis]}: the exponent of a power law without a "
        "floor, with its 95 % interval. Right of 0 the kind comes with scale, left of 0 scale makes it worse."
    )
    return Panel(f"kinds-{axis}", caption, figure)


def shares_panel(record: Robustness) -> Panel | None:
    """Variance shares of every kind as stacked bars; ``None`` where there is no mixed model."""
    kinds = [(kind.kind, kind.mixed.shares) for kind in record.kinds if kind.mixed is not None]
    if not kinds:
        return None
    with drawing(height=1.4 + 0.34 * len(kinds)) as (figure, axes):
        left = np.zeros(len(kinds))
        for part, shade in zip(_PARTS, _SHADES):
            width = np.array([shares.get(part, 0.0) for _, shares in kinds])
            axes.barh(range(len(kinds)), width, left=left, color=shade, label=part, height=0.62)
            left += width
        axes.set_yticks(range(len(kinds)), [name for name, _ in kinds])
        axes.set_ylim(len(kinds) - 0.5, -0.5)
        axes.set(xlim=(0, 1), xlabel="share of the variance of a query's score", title="Model or data")
        axes.grid(visible=False, axis="y")
    caption = (
        f"Where the variance of {record.metric.replace('_', ' ')} of a query lies, by the mixed model: what "
        "the model's fixed effects explain, runs of one configuration, collections, queries, and the rest."
    )
    return Panel("variance-shares", caption, figure)

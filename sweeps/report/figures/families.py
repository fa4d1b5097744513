"""Figures that hold model families against each other: colour tells the family, the marker the strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sweeps.comparison.families.record import Families, Tradeoff
from sweeps.fitting.configurations import aggregate, label_order
from sweeps.report.curves import Curve
from sweeps.report.figures.curves import finish, metric_name, objective_name
from sweeps.report.figures.style import MUTED, Look, Panel, drawing, family_looks, log_axis
from sweeps.table.families import FAMILY

HEIGHT = 3.7


@dataclass(frozen=True)
class Strand:
    """The curve of one family and strategy."""

    family: str
    curve: Curve


def curves_panel(strands: Sequence[Strand], families: Sequence[str], name: str) -> Panel:
    """One metric along N or D, a curve a family and strategy, with the law where one can be fitted."""
    looks = family_looks(families, sorted({one.curve.label for one in strands}, key=label_order))
    first = strands[0].curve
    with drawing(height=HEIGHT) as (figure, axes):
        for one in strands:
            _draw(axes, one.curve, looks[one.family, one.curve.label])
        objective, along = objective_name(first.metric), {"D": "data", "N": "size"}[first.axis]
        finish(axes, [one.curve for one in strands], f"{objective} against {along}")
        if len(strands) > 1:
            _legend(axes, families, looks)
        places = dict.fromkeys(f"{one.family}: {one.curve.where}" for one in strands)
        caption = (
            f"{objective}: {metric_name(first.metric)} by family; lower is better. At {'; '.join(places)}. "
            "Lines are laws fitted within each family and strategy, or join its points; bars span the seeds."
        )
        return Panel(name, caption, figure)


def _draw(axes: Axes, curve: Curve, look: Look) -> None:
    x, y = curve.points["x"].to_numpy(float), curve.points["y"].to_numpy(float)
    if curve.fit is None:
        axes.plot(x, y, color=look.colour, linewidth=1.0, alpha=0.7)
    else:
        inside = np.geomspace(x.min(), x.max(), 80)
        axes.plot(inside, curve.predict(inside), color=look.colour, linewidth=1.3)
    axes.plot(x, y, look.marker, color=look.colour, zorder=4)
    axes.vlines(x, curve.points["low"], curve.points["high"], color=look.colour, linewidth=1.0)


def _legend(axes: Axes, families: Sequence[str], looks: dict[tuple[str, str], Look]) -> None:
    """A line of its colour for every family, a grey marker for every strategy."""
    strategies = list(dict.fromkeys(strategy for _, strategy in looks))
    for family in families:
        axes.plot([], [], color=looks[family, strategies[0]].colour, linewidth=3, label=family)
    for strategy in strategies if len(strategies) > 1 else ():
        marker = looks[families[0], strategy].marker
        axes.plot([], [], marker, color=MUTED, label=strategy)


def planes_panel(record: Families, runs: pd.DataFrame) -> Panel:
    """Both objectives: the configurations of every family, its frontier and its knee."""
    metrics = tuple(record.metrics)
    means = aggregate(runs[runs["label"].isin(record.strategies)], metrics).table
    families = list(record.families)
    looks = family_looks(families, sorted(means["label"].unique(), key=label_order))
    with drawing(height=HEIGHT + 0.3) as (figure, axes):
        for (family, label), part in means.groupby([FAMILY, "label"]):
            look = looks[str(family), str(label)]
            axes.plot(
                part[metrics[0]],
                part[metrics[1]],
                look.marker,
                color=look.colour,
                alpha=0.45,
                markersize=4.5,
            )
        for one in record.frontiers:
            colour = looks[one.family, next(iter(means["label"]))].colour
            front = np.array(one.points)
            axes.plot(front[:, 0], front[:, 1], color=colour, linewidth=1.5, zorder=5)
            axes.plot(one.x, one.y, "*", color=colour, markersize=13, markerfacecolor="none", zorder=6)
        for which, metric in zip(("x", "y"), metrics):
            if (means[metric] > 0).all():
                log_axis(axes, which, means[metric].tolist())
        axes.set(
            xlabel=f"{objective_name(metrics[0])}: {metric_name(metrics[0])}",
            ylabel=f"{objective_name(metrics[1])}: {metric_name(metrics[1])}",
            title="The frontier of every family",
        )
        _legend(axes, families, looks)
        caption = (
            "Configurations (mean over seeds), the frontier of each family's non-dominated ones, and its "
            "knee (star). Families that were run at other sizes or amounts of data have other ends."
        )
        return Panel("families-frontier", caption, figure)


def shifts_panel(record: Families) -> Panel | None:
    """ρ* of every family along the fractions of one model; ``None`` with fewer than two cells a family."""
    cells = [one for one in record.cells if one.rho is not None and {"model", "frac"} <= set(one.where)]
    models = [str(one.where["model"]) for one in cells]
    model = max(sorted(set(models)), key=models.count, default="")
    own = [one for one in cells if one.where["model"] == model]
    families = [name for name in record.families if sum(one.family == name for one in own) > 1]
    if not families:
        return None
    looks = family_looks(list(record.families), [""])
    with drawing(height=HEIGHT) as (figure, axes):
        for place, family in enumerate(families):
            line = sorted((one for one in own if one.family == family), key=lambda one: one.where["frac"])
            # A little apart, so that no bar hides another.
            _shift(axes, line, looks[family, ""], 1.03 ** (place - (len(families) - 1) / 2))
        log_axis(axes, "x", [float(one.where["frac"]) for one in own])
        axes.set(xlabel="fraction of the training pairs", ylabel="ρ* = R*/E* at the knee")
        axes.set_title(f"Where the trade-off lies, {model}")
        caption = (
            f"ρ* at the knee of every family's frontier at {model} and each fraction: robustness loss per "
            f"effectiveness loss of its Pareto-efficient point. Bars are {100 * record.level:g} % intervals "
            "under seed noise."
        )
        return Panel("families-rho", caption, figure)


def _shift(axes: Axes, line: Sequence[Tradeoff], look: Look, aside: float) -> None:
    x = [aside * float(one.where["frac"]) for one in line]
    axes.plot(
        x,
        [float(one.rho or np.nan) for one in line],
        look.marker + "-",
        color=look.colour,
        label=line[0].family,
    )
    for place, one in zip(x, line):
        if one.rho_interval is not None:
            low, high = one.rho_interval
            axes.vlines(place, low, high, color=look.colour, linewidth=1.0)

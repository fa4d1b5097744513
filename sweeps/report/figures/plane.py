"""The plane of effectiveness and robustness: runs, frontier, knee, and how both move with scale."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from retrieval.run.metric_names import larger_is_better
from sweeps.fitting.configurations import label_order
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.frontier.record import Cell, Front, Frontier, Point
from sweeps.report.figures import style
from sweeps.report.figures.curves import metric_name, objective_name
from sweeps.report.figures.style import INK, MUTED, Look, Panel, drawing, log_axis, looks, quantity

MAX_CELLS = 6
"""Cells drawn side by side."""

MAX_TRAILS = 24
"""Trails of growing data drawn in one plane; more would hide the points."""


def plane_panel(record: Frontier) -> Panel:
    """All configurations, the frontier over them, its knee, and arrows towards more data."""
    front = record.front
    points = _table(front.points)
    chosen = looks(_labels(points))
    with drawing(height=3.9) as (figure, axes):
        for label, look in chosen.items():
            part = points[points["label"] == label]
            axes.plot(part["x"], part["y"], look.marker, color=look.colour, alpha=0.8, label=label, zorder=3)
        _trails(axes, points, {label: look.colour for label, look in chosen.items()})
        _frontier_line(axes, points)
        knee = front.knee
        axes.plot(knee.x, knee.y, "*", color=INK, markersize=13, markerfacecolor="none", zorder=6)
        axes.annotate("knee", (knee.x, knee.y), (7, 7), textcoords="offset points", fontsize=7.5, color=INK)
        _finish(axes, points, front, "Both objectives, all configurations")
        vertical = "upper" if larger_is_better(front.y) else "lower"
        horizontal = "right" if larger_is_better(front.x) else "left"
        caption = (
            f"{objective_name(front.x)} and {objective_name(front.y)} of every configuration "
            "(mean over seeds). The dark line is the frontier of the non-dominated ones, the star its "
            f"knee ({knee.rule_in_words}); arrows point to more training pairs at one "
            f"size. The {vertical} {horizontal} corner is best."
        )
        return Panel("frontier", caption, figure)


def cell_panel(record: Frontier) -> Panel | None:
    """Strategies and fixed ω at one model size and number of pairs; ``None`` with fewer than three.

    The cell with most strategies is drawn, the largest of ties.
    """
    groups = [group for group in record.groups if len(group.front.points) >= 3]
    if not groups:
        return None
    group = max(groups, key=_most)
    chosen = looks(_labels(_table(group.front.points)))
    with drawing(height=3.9) as (figure, axes):
        _draw_cell(axes, group, chosen)
        axes.set_title(f"The trade-off at {_where(group)}")
        caption = (
            f"Strategies at {_where(group)}: the trade-off at equal size and data. Bars are one standard "
            "deviation over seeds; the dotted line joins fixed values of ω."
        )
        return Panel("frontier-cell", caption, figure)


def cells_panel(record: Frontier) -> Panel | None:
    """The trade-off at every number of pairs of one model, side by side; ``None`` with fewer than two.

    Drawn are the cells with three strategies or more of the model that has most of them.
    """
    groups = [
        group
        for group in record.groups
        if len(group.front.points) >= 3 and {"model", "frac"} <= set(group.where)
    ]
    models = [str(group.where["model"]) for group in groups]
    model = max(sorted(set(models)), key=models.count, default="")
    cells = [group for group, name in zip(groups, models) if name == model]
    cells = sorted(cells, key=lambda group: float(group.where["frac"]))[:MAX_CELLS]
    if len(cells) < 2:
        return None
    chosen = looks(_labels(pd.concat([_table(group.front.points) for group in cells])))
    with style.small_multiples(len(cells)) as (figure, grid):
        for axes, group in zip(grid, cells):
            _draw_cell(axes, group, chosen)
            axes.set_title(_pairs(group))
        caption = (
            f"Strategies of {model} at each number of training pairs, at equal steps. Bars are one standard "
            "deviation over seeds; the dotted line joins fixed values of ω from few to many robust steps."
        )
        return Panel("frontier-cells", caption, figure)


def _where(group: Cell) -> str:
    return ", ".join(f"{key} {value}" for key, value in group.where.items())


def _pairs(group: Cell) -> str:
    pairs = group.front.points[0].size.get(PAIRS)
    return f"{quantity(float(pairs))} pairs" if pairs else f"frac {group.where['frac']}"


def _draw_cell(axes: Axes, group: Cell, chosen: dict[str, Look]) -> None:
    """One cell: every strategy with its spread, the line of fixed ω, the frontier and its knee."""
    points = _table(group.front.points)
    for label in _labels(points):
        row = points[points["label"] == label].iloc[0]
        axes.errorbar(
            row["x"],
            row["y"],
            xerr=row["sd_x"] if pd.notna(row["sd_x"]) else None,
            yerr=row["sd_y"] if pd.notna(row["sd_y"]) else None,
            fmt=chosen[label].marker,
            color=chosen[label].colour,
            label=label,
            elinewidth=0.9,
        )
    fixed = points[points["label"].str.startswith("fixed")]
    fixed = fixed.sort_values("label", key=lambda names: names.map(label_order))
    axes.plot(fixed["x"], fixed["y"], color=MUTED, linewidth=0.8, linestyle=":", zorder=1)
    _frontier_line(axes, points)
    knee = group.front.knee
    axes.plot(knee.x, knee.y, "*", color=INK, markersize=13, markerfacecolor="none", zorder=6)
    _finish(axes, points, group.front, "")


def _most(group: Cell) -> tuple[int, float, float]:
    """Most strategies first, then the largest model, then the most pairs."""
    first = group.front.points[0]
    return len(group.front.points), float(first.size.get(SIZE) or 0), float(first.size.get(PAIRS) or 0)


def moving_panel(record: Frontier) -> Panel | None:
    """The frontier of every number of pairs at one model: how it moves with data; ``None`` without."""
    counts: dict[str, list[Cell]] = {}
    for group in record.groups:
        if {"model", "frac"} <= set(group.where) and len(group.front.best) >= 2:
            counts.setdefault(str(group.where["model"]), []).append(group)
    usable = {name: found for name, found in counts.items() if len(found) >= 2}
    if not usable:
        return None
    model = max(
        usable, key=lambda name: (len(usable[name]), usable[name][0].front.points[0].size.get(SIZE) or 0)
    )
    cells = sorted(usable[model], key=lambda group: float(group.where["frac"]))
    with drawing(height=3.9) as (figure, axes):
        for group, shade in zip(cells, style.shades(len(cells))):
            points = _table(group.front.points)
            axes.plot(points["x"], points["y"], "o", color=shade, markersize=3.5, alpha=0.6)
            _frontier_line(axes, points, shade, _pairs(group))
        knees = np.array([[group.front.knee.x, group.front.knee.y] for group in cells])
        for start, end in pairwise(knees):
            _arrow(axes, start, end, MUTED)
        everything = pd.concat([_table(group.front.points) for group in cells])
        _finish(axes, everything, record.front, f"The frontier moves with data, {model}")
        caption = f"Frontiers of {model} at each number of training pairs; arrows join their knees."
        return Panel("frontier-moving", caption, figure)


def _table(points: Sequence[Point]) -> pd.DataFrame:
    return pd.DataFrame([point.to_json() for point in points])


def _labels(points: pd.DataFrame) -> list[str]:
    return sorted(points["label"].unique().tolist(), key=label_order)


def _trails(axes: Axes, points: pd.DataFrame, colours: dict[str, str]) -> None:
    if PAIRS not in points or "model" not in points:
        return
    trails = [part.sort_values(PAIRS) for _, part in points.groupby(["label", "model"]) if len(part) > 1]
    for part in trails if len(trails) <= MAX_TRAILS else []:
        colour = colours[part["label"].iloc[0]]
        axes.plot(part["x"], part["y"], color=colour, linewidth=0.8, alpha=0.45, zorder=1)
        ends = part[["x", "y"]].to_numpy(float)[-2:]
        _arrow(axes, ends[0], ends[1], colour)


def _arrow(axes: Axes, start: np.ndarray, end: np.ndarray, colour: str) -> None:
    line = {"arrowstyle": "->", "color": colour, "alpha": 0.6, "shrinkA": 3, "shrinkB": 5, "linewidth": 0.9}
    axes.annotate("", xy=(end[0], end[1]), xytext=(start[0], start[1]), arrowprops=line, zorder=2)


def _frontier_line(axes: Axes, points: pd.DataFrame, colour: str = INK, label: str | None = None) -> None:
    front = points[points["non_dominated"]].sort_values("x")
    axes.plot(front["x"], front["y"], color=colour, linewidth=1.5, zorder=5, alpha=0.85, label=label)


def _finish(axes: Axes, points: pd.DataFrame, front: Front, title: str) -> None:
    for which, metric in (("x", front.x), ("y", front.y)):
        values = points[which].tolist()
        if not larger_is_better(metric) and min(values) > 0:
            log_axis(axes, which, values)
        # Two lines: one is longer than small axes are high.
        text = f"{objective_name(metric)}:\n{metric_name(metric)}"
        (axes.set_xlabel if which == "x" else axes.set_ylabel)(text)
    axes.set_title(title)

"""Ranking quality beside BM25, contrastive entropy by domain, and what runs cost."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from sweeps.fitting.configurations import FLOPS, label_order
from sweeps.fitting.points import SIZE
from sweeps.report.curves import Curve
from sweeps.report.figures.curves import AXIS_NAME, draw_curve, metric_name, objective_name
from sweeps.report.figures.style import INK, Panel, drawing, log_axis, looks, quantity


def ranking_panel(curves: Sequence[Curve], bm25: float | None, name: str) -> Panel:
    """A rank metric against training pairs, with BM25 as a line."""
    first = curves[0]
    chosen = looks([curve.label for curve in curves])
    with drawing() as (figure, axes):
        for curve in curves:
            draw_curve(axes, curve, chosen[curve.label], curve.label)
        if bm25 is not None:
            axes.axhline(bm25, color=INK, linewidth=1.1, linestyle="--", label="BM25")
        log_axis(axes, "x", [x for curve in curves for x in curve.points["x"]])
        axes.set_ylim(bottom=0)
        axes.set(
            xlabel=AXIS_NAME[first.axis],
            ylabel=metric_name(first.metric),
            title=f"{objective_name(first.metric)}, {first.where}",
        )
        beside = "" if bm25 is None else f" BM25 on the same test sets: {bm25:.3f}."
        caption = (
            f"{objective_name(first.metric)}: {metric_name(first.metric)} against {AXIS_NAME[first.axis]}, "
            f"{first.where}; higher is better.{beside}"
        )
        return Panel(name, caption, figure)


def cost_panel(means: pd.DataFrame, x: str, metric: str, name: str, title: str, label: str) -> Panel:
    """A metric against a cost, one point a configuration, coloured by strategy."""
    chosen = looks(sorted(means["label"].unique(), key=label_order))
    with drawing() as (figure, axes):
        for strategy, look in chosen.items():
            part = means[means["label"] == strategy]
            axes.plot(part[x], part[metric], look.marker, color=look.colour, alpha=0.85, label=strategy)
        log_axis(axes, "x", means[x].tolist())
        log_axis(axes, "y", means[metric].tolist())
        axes.set(xlabel=label, ylabel=metric_name(metric), title=title)
        caption = f"{objective_name(metric)} of every configuration against {label}; down and left is better."
        return Panel(name, caption, figure)


def time_panel(means: pd.DataFrame, seconds: str) -> Panel:
    """Training time against model size, by strategy."""
    chosen = looks(sorted(means["label"].unique(), key=label_order))
    with drawing() as (figure, axes):
        for strategy, look in chosen.items():
            part = means[means["label"] == strategy].groupby(SIZE, as_index=False)[seconds].mean()
            axes.plot(
                part[SIZE], part[seconds], look.marker, color=look.colour, linestyle="-", label=strategy
            )
        log_axis(axes, "x", means[SIZE].tolist())
        log_axis(axes, "y", means[seconds].tolist())
        axes.set(xlabel=AXIS_NAME["N"], ylabel="training time (seconds)", title="Training time")
        return Panel("cost-time", "Training time of a run by model size, mean over its fractions.", figure)


def totals(runs: pd.DataFrame) -> list[str]:
    """What the whole sweep cost, in words, of what the runs recorded."""
    said = []
    for key, text, unit, scale in (
        ("cost/train_seconds", "training", "hours", 3600.0),
        ("cost/eval_seconds", "evaluation", "hours", 3600.0),
        (FLOPS, "training arithmetic", "FLOPs", 1.0),
    ):
        if key in runs and runs[key].notna().any():
            total = float(runs[key].sum()) / scale
            said.append(f"{text} {quantity(total) if scale == 1.0 else f'{total:.2g}'} {unit}")
    return said

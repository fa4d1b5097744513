"""Metrics against training pairs, model size, both, and cost: with laws, and beside BM25."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from sweeps.fitting.configurations import FLOPS, label_order
from sweeps.fitting.points import SIZE
from sweeps.fitting.result import FitResult
from sweeps.report.curves import Curve
from sweeps.report.figures.style import INK, MUTED, Look, Panel, drawing, log_axis, looks, quantity, shades

AXIS_NAME = {"D": "training pairs D", "N": "non-embedding parameters N"}
METRIC_NAME = {
    "contrastive_entropy": "contrastive entropy (nats)",
    "ndcg@10": "nDCG@10",
    "mrr@10": "MRR@10",
    "recall@100": "Recall@100",
}


def metric_name(metric: str) -> str:
    """A metric's name on an axis."""
    return METRIC_NAME.get(metric.rsplit("/", 1)[-1], metric)


def objective_name(metric: str) -> str:
    """What a metric measures: ``Effectiveness``, ``OOD robustness`` or a domain; of dev sets so marked."""
    if metric.startswith("dev/"):
        return f"Dev: {objective_in_text(metric.removeprefix('dev/'))}"
    first, *rest = metric.split("/")
    if len(rest) > 1:
        return f"{'OOD' if first == 'ood' else first}: {rest[0]}"
    return {"eff": "Effectiveness", "ood": "OOD robustness", "adv": "Adversarial robustness"}.get(
        first, first
    )


def objective_in_text(metric: str) -> str:
    """The objective's name inside a sentence."""
    name = objective_name(metric)
    return name if name.startswith("OOD") else name[0].lower() + name[1:]


def curve_panel(curves: Sequence[Curve], name: str, title: str, caption: str) -> Panel:
    """Curves of several strategies in one panel, one colour and marker each."""
    chosen = looks([curve.label for curve in curves])
    with drawing() as (figure, axes):
        for curve in curves:
            draw_curve(axes, curve, chosen[curve.label], curve.label)
        finish(axes, curves, title)
        return Panel(name, caption, figure)


def sizes_panel(curves: Sequence[Curve], name: str, title: str, caption: str) -> Panel:
    """Curves of one strategy at several slices, from dark (small) to light (large)."""
    ordered = sorted(curves, key=lambda curve: curve.other)
    with drawing() as (figure, axes):
        for curve, shade in zip(ordered, shades(len(ordered))):
            draw_curve(axes, curve, Look(shade, "o"), curve.where, band=False)
        finish(axes, ordered, title)
        return Panel(name, caption, figure)


def draw_curve(axes: Axes, curve: Curve, look: Look, label: str, band: bool = True) -> None:
    """Points with their range over seeds; the law solid inside the data and dotted a little beyond."""
    x, y = curve.points["x"].to_numpy(float), curve.points["y"].to_numpy(float)
    held = _held_out(curve)
    if curve.fit is None:
        axes.plot(x, y, color=look.colour, linewidth=1.0, alpha=0.7)
    else:
        _draw_law(axes, curve, look, band)
    hidden = np.isin(x, held[0])
    axes.plot(x[~hidden], y[~hidden], look.marker, color=look.colour, label=label, zorder=4)
    axes.plot(x[hidden], y[hidden], look.marker, color=look.colour, markerfacecolor="white", zorder=4)
    axes.vlines(x, curve.points["low"], curve.points["high"], color=look.colour, linewidth=1.0)
    if len(held[0]):
        axes.plot(*held, marker="x", color=look.colour, markersize=6.5, linestyle="none", zorder=5)


def _held_out(curve: Curve) -> tuple[np.ndarray, np.ndarray]:
    """Positions and predictions of the points left out in the hold-out check, along the curve's axis."""
    points = [] if curve.fit is None else [p for p in curve.fit.holdout.points if p["axis"] == curve.axis]
    return np.array([p[curve.axis] for p in points]), np.array([p["predicted"] for p in points])


def _draw_law(axes: Axes, curve: Curve, look: Look, band: bool) -> None:
    low, high = curve.points["x"].min(), curve.points["x"].max()
    inside = np.geomspace(low, high, 80)
    beyond = np.geomspace(high, high * 1.6, 20)
    axes.plot(inside, curve.predict(inside), color=look.colour)
    axes.plot(beyond, curve.predict(beyond), color=look.colour, linestyle=":", linewidth=1.3)
    if band:
        reach = np.concatenate([inside, beyond])
        found = curve.band(reach)
        if found is not None and np.isfinite(found).all():
            axes.fill_between(reach, *found, color=look.colour, alpha=0.14, linewidth=0)


def _chance_line(axes: Axes, curves: Sequence[Curve], top: float) -> None:
    """The level of guessing, where it lies in the picture."""
    levels = [curve.fit.chance for curve in curves if curve.fit is not None and curve.fit.chance is not None]
    if levels and top > levels[0]:
        axes.axhline(levels[0], color=MUTED, linewidth=0.9, linestyle="--", zorder=1)
        across = axes.get_yaxis_transform()
        axes.text(0.99, levels[0], "guessing", transform=across, ha="right", va="bottom", color=MUTED)


def finish(axes: Axes, curves: Sequence[Curve], title: str) -> None:
    """Axes, limits from the points (a wild band must not hide them), title."""
    xs = np.concatenate([curve.points["x"].to_numpy(float) for curve in curves])
    lows = np.concatenate([curve.points["low"].to_numpy(float) for curve in curves])
    highs = np.concatenate([curve.points["high"].to_numpy(float) for curve in curves])
    log_axis(axes, "x", xs.tolist())
    if (lows > 0).all():
        log_axis(axes, "y", [*lows, *highs])
        # Held-out predictions belong in the picture, unless they are so far off that nothing else would.
        missed = np.concatenate([_held_out(curve)[1] for curve in curves])
        bottom = min(lows.min(), max(missed.min(initial=np.inf), lows.min() / 1.5)) / 1.06
        top = max(highs.max(), min(missed.max(initial=0.0), highs.max() * 1.5)) * 1.06
        axes.set_ylim(bottom, top)
        _chance_line(axes, curves, float(top))
    axes.set_xlabel(AXIS_NAME[curves[0].axis])
    axes.set_ylabel(metric_name(curves[0].metric))
    axes.set_title(title)
    if len(curves) == 1:
        axes.text(0.98, 0.97, curves[0].label, transform=axes.transAxes, ha="right", va="top", color=MUTED)


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

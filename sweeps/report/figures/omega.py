"""Figures on ω: how it moved in training, and what mixture laws say of it.

The former come from ``runs/<run>/metrics.jsonl``, the latter from the record ``mixture.json``.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from retrieval.run.files import read_metrics
from sweeps.fitting.bootstrap import interval
from sweeps.mixture.optimum import logits, omega_of
from sweeps.mixture.record import Mixture, MixtureCell
from sweeps.report.figures.curves import AXIS_NAME, metric_name
from sweeps.report.figures.style import INK, MUTED, Panel, drawing, log_axis, quantity, shades
from sweeps.table.traces import OMEGA

DISTANCE = "train/omega_distance"


def omega_traces(runs: pd.DataFrame, folder: Path | None, limit: int = 6) -> dict[str, pd.DataFrame]:
    """Configuration -> its first run's logged steps, for labelled runs in ``folder`` in which ω moved.

    At most ``limit`` of them, spread over the configurations.
    """
    if folder is None or "strategy" not in runs:
        return {}
    moving = runs[runs["strategy"] == "pareto"]
    if "omega/rule" in moving:
        moving = moving[moving["omega/rule"] != "fixed"]
    found = {}
    for name, part in moving.groupby("configuration", sort=False):
        steps = pd.DataFrame(read_metrics(folder / str(part.iloc[0]["run"]) / "metrics.jsonl"))
        if OMEGA in steps and steps[OMEGA].notna().any():
            found[str(name)] = steps[steps[OMEGA].notna()]
    names = list(found)
    if len(names) > limit:
        names = [names[round(i * (len(names) - 1) / (limit - 1))] for i in range(limit)]
    return {name: found[name] for name in names}


def omega_panels(traces: dict[str, pd.DataFrame], order: dict[str, tuple[float, float]]) -> list[Panel]:
    """ω, the signed distance it follows, and the two losses against the optimisation step.

    ``order``: configuration -> (N, D), the order of colours from dark to light.
    """
    names = sorted(traces, key=lambda name: order.get(name, (0.0, 0.0)))
    colours = dict(zip(names, shades(len(names))))
    panels = [_lines(traces, colours, OMEGA, "omega", "Weight ω of the robustness loss", "ω")]
    if any(DISTANCE in steps for steps in traces.values()):
        text = "Distance from the ray through (E*, R*)"
        panels.append(_lines(traces, colours, DISTANCE, "omega-distance", text, "signed distance d"))
    losses = {
        name: steps for name, steps in traces.items() if {"train/loss_eff", "train/loss_rob"} <= set(steps)
    }
    if losses:
        panels.append(_losses(losses, colours))
    return panels


def _lines(
    traces: dict[str, pd.DataFrame], colours: dict[str, str], key: str, name: str, title: str, label: str
) -> Panel:
    with drawing() as (figure, axes):
        for run, colour in colours.items():
            if key in traces[run]:
                axes.plot(
                    traces[run]["step"], traces[run][key], color=colour, linewidth=1.4, label=_short(run)
                )
        axes.axhline(0.5 if key == OMEGA else 0.0, color=MUTED, linewidth=0.8, linestyle="--")
        if key == OMEGA:
            axes.set_ylim(0, 1)
        axes.set(xlabel="optimisation step", ylabel=label, title=title)
        caption = f"{title}, at every logged step; one line a configuration (its first seed)."
        return Panel(name, caption, figure)


def _losses(traces: dict[str, pd.DataFrame], colours: dict[str, str]) -> Panel:
    with drawing() as (figure, axes):
        for run, steps in traces.items():
            smooth = steps[["train/loss_eff", "train/loss_rob"]].rolling(3, min_periods=1).mean()
            axes.plot(smooth["train/loss_eff"], smooth["train/loss_rob"], color=colours[run], linewidth=1.2)
            end = smooth.iloc[-1]
            axes.plot(
                end["train/loss_eff"], end["train/loss_rob"], "o", color=colours[run], label=_short(run)
            )
        axes.set(
            xlabel="effectiveness loss", ylabel="robustness loss", title="Path of the two training losses"
        )
        caption = (
            "The two training losses through training (means of three logged steps); the dot is the end. "
            "The rule steers ω so that their ratio approaches ρ*."
        )
        return Panel("omega-losses", caption, figure)


def _short(configuration: str) -> str:
    return configuration.replace(" · pareto", "").replace("bert-", "")


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

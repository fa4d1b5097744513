"""How ω and the two training losses moved in runs with Pareto training, from ``runs/<run>/metrics.jsonl``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from retrieval.run.files import read_metrics
from sweeps.report.figures.style import MUTED, Panel, drawing, shades

OMEGA, DISTANCE = "train/omega", "train/omega_distance"


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

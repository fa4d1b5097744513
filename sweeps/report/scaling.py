"""Sections that show curves: scaling along D and N, ranking quality beside BM25, domains and cost."""

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.fitting.configurations import FLOPS, aggregate
from sweeps.fitting.fit import fit_law
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.fitting.result import FitResult
from sweeps.report.curves import (
    ACROSS,
    COLUMN,
    Axis,
    Curve,
    best_slice,
    curve,
    curves_along,
    labels_for_curves,
)
from sweeps.report.figures import curves as figures
from sweeps.report.figures.curves import AXIS_NAME, objective_name
from sweeps.report.figures.style import Panel
from sweeps.report.page import PageTable, Section, interval, percent
from sweeps.report.sets import bm25_value, set_tables
from sweeps.report.written import Written
from sweeps.table.runs import ood_domains

OBJECTIVES = ("eff/contrastive_entropy", "ood/contrastive_entropy", "adv/contrastive_entropy")

TITLES = {"D": "More training pairs", "N": "Larger models"}
MAX_SIZES = 8
"""Slices drawn in one panel of sizes."""


def measured(runs: pd.DataFrame) -> list[str]:
    """The objectives' contrastive entropies that at least one run has."""
    return [metric for metric in OBJECTIVES if metric in runs and runs[metric].notna().any()]


def scaling(runs: pd.DataFrame, axis: Axis, written: Written) -> tuple[Section, list[Curve]]:
    """The section on ``axis``, and its curves of every strategy and objective, fitted where levels allow."""
    section = Section("data" if axis == "D" else "model", TITLES[axis])
    found: list[Curve] = []
    other = best_slice(runs, axis)
    levels = 0 if other is None else runs[runs[ACROSS[axis]] == other][COLUMN[axis]].nunique()
    if other is None or levels < 2:
        what = "training fractions" if axis == "D" else "model sizes"
        option = "data.frac=0.1,0.3,1" if axis == "D" else "model=bert-tiny,bert-mini,bert-small"
        section.missing(
            "FEWER_THAN_3_LEVELS",
            f"the runs have {levels} of the {what} a curve needs (for more, give {option})",
        )
        return section, found
    if levels < 3:
        section.missing("FEWER_THAN_3_LEVELS", f"{levels} values of {axis} give a line, not a law")
    if axis == "D":
        section.paragraphs.append(
            "Contrastive entropy is −ln of the probability that a relevant passage gets among random "
            "irrelevant ones, in nats: lower is better, and ln(W + 1) is guessing."
        )
    for metric in measured(runs):
        known = partial(written.fit, section, metric=metric, axes=(axis,), other=other)
        curves = curves_along(runs, axis, metric, other, known=known)
        if curves:
            found += curves
            section.panels.append(_panel(curves, metric))
    fitted = exponents_table(found)
    if fitted.rows:
        section.tables.append(fitted)
    if axis == "D":
        # Along N the joint surface shows the same, and slices of three sizes determine little.
        for metric in measured(runs):
            section.panels += _sizes(runs, metric, found)
    return section, found


def _panel(curves: list[Curve], metric: str) -> Panel:
    first = curves[0]
    objective = objective_name(metric)
    parts = [
        f"{objective}: contrastive entropy against {AXIS_NAME[first.axis]}, {first.where}; lower is better."
    ]
    if any(item.fit is not None for item in curves):
        banded = any(item.band(np.array([1.0])) is not None for item in curves)
        bands = "with 95 % bands of the mean" if banded else "(too few points for a band)"
        parts.append(f"Lines are fitted laws {bands}, dotted beyond the data.")
    if any(item.fit is not None and item.fit.holdout.n for item in curves):
        parts.append("Hollow points were left out in a second fit, which predicts the crosses.")
    if any((item.points["seeds"] > 1).any() for item in curves):
        parts.append("Bars span the seeds.")
    name = f"{'data' if first.axis == 'D' else 'model'}-{metric.split('/')[0]}"
    return figures.curve_panel(curves, name, f"{objective}, {first.where}", " ".join(parts))


def _sizes(runs: pd.DataFrame, metric: str, found: list[Curve]) -> list[Panel]:
    """One panel a strategy with the curves of all model sizes, where there are several."""
    panels = []
    for label in labels_for_curves(runs, limit=4):
        part = runs[(runs["label"] == label) & runs[metric].notna()]
        levels = part.groupby(SIZE)[PAIRS].nunique()
        values = [float(value) for value in levels[levels >= 2].index]
        if len(values) < 2:
            continue
        step = max(1, -(-len(values) // MAX_SIZES))
        curves = [curve(runs, label, "D", metric, value, fitted="quick") for value in values[::-1][::step]]
        objective = objective_name(metric)
        caption = f"{objective} of {label} at every model size; dark is small, light is large."
        name = f"data-{metric.split('/')[0]}-{slug(label)}"
        panels.append(figures.sizes_panel(curves, name, f"{objective}, {label}", caption))
        known = {(item.label, item.axis, item.metric, item.other) for item in found}
        found += [item for item in curves if (item.label, item.axis, item.metric, item.other) not in known]
    return panels


def slug(label: str) -> str:
    """A label as part of a file name or an id."""
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in label)


def exponents_table(curves: Sequence[Curve]) -> PageTable:
    """The fitted exponents of the curves in one slice, for reading; all numbers are in the table of fits."""
    rows = []
    for item in curves:
        if item.fit is None:
            continue
        name = "beta" if item.axis == "D" else "alpha"
        error = item.fit.holdout.relative_error
        rows.append(
            [
                *(objective_name(item.metric), item.label, item.fit.form.formula),
                f"{item.fit.params[name]:.3g}",
                interval(item.fit.intervals.get(name)),
                "" if error is None else percent(error),
            ]
        )
    symbol = "β" if curves and curves[0].axis == "D" else "α"
    headings = ["objective", "strategy", "law", symbol, "95 % interval", "hold-out error"]
    return PageTable(headings, [False] * 3 + [True] * 3, rows)


def joint_fits(runs: pd.DataFrame, written: Written, section: Section) -> list[tuple[str, str, FitResult]]:
    """The joint law of every strategy and objective with at least three sizes and three numbers of pairs."""
    fits = []
    if not {SIZE, PAIRS} <= set(runs):
        return []
    for metric in measured(runs):
        for label in labels_for_curves(runs, limit=4):
            part = runs[(runs["label"] == label) & runs[metric].notna()]
            if min(part[SIZE].nunique(), part[PAIRS].nunique()) < 3:
                continue
            try:
                known = written.fit(section, label, metric, ("N", "D"))
                fit = known or fit_law(part, law="joint", metric=metric)
            except ParetrieveError:
                continue
            fits.append((label, metric, fit))
    return fits


RANKING = "ndcg@10"
MAX_DOMAINS = 6


def ranking_section(runs: pd.DataFrame) -> Section:
    """nDCG@10 against training pairs for both objectives, with BM25 as reference."""
    section = Section("ranking", "Ranking quality beside BM25")
    other = best_slice(runs, "D")
    for prefix in ("eff", "ood", "adv"):
        metric = f"{prefix}/{RANKING}"
        if other is None or metric not in runs or runs[metric].isna().all():
            continue
        curves = curves_along(runs, "D", metric, other, "none")
        if curves:
            section.panels.append(
                figures.ranking_panel(curves, bm25_value(runs, metric), f"ranking-{prefix}")
            )
    if not section.panels:
        section.missing("NO_RANKING_METRIC")
    elif not any(bm25_value(runs, f"{prefix}/{RANKING}") is not None for prefix in ("eff", "ood")):
        section.missing("NO_BM25")
    return section


def domains_section(runs: pd.DataFrame) -> Section | None:
    """Contrastive entropy of every OOD test domain; ``None`` with fewer than two domains."""
    names = domains(runs)
    other = best_slice(runs, "D")
    if len(names) < 2 or other is None:
        return None
    section = Section("domains", "Domain by domain")
    section.paragraphs.append(
        "OOD robustness is the unweighted mean over these test domains, none of which is trained on."
    )
    for name in names[:MAX_DOMAINS]:
        metric = f"ood/{name}/contrastive_entropy"
        curves = curves_along(runs, "D", metric, other, "quick")
        if curves:
            title = f"{objective_name(metric)}, {curves[0].where}"
            caption = f"Contrastive entropy on {name} against training pairs; lower is better."
            section.panels.append(
                figures.curve_panel(curves, f"domain-{len(section.panels) + 1}", title, caption)
            )
    if len(names) > MAX_DOMAINS:
        section.paragraphs.append(
            f"{MAX_DOMAINS} of {len(names)} are drawn; the tables have all: {', '.join(names)}."
        )
    section.tables = set_tables(runs)
    return section


def domains(runs: pd.DataFrame) -> list[str]:
    """OOD test domains with a contrastive entropy, by name."""
    return sorted(ood_domains(runs, "contrastive_entropy"), key=lambda name: f"{name}/")


def cost_section(runs: pd.DataFrame) -> Section:
    """What runs cost, and what that buys."""
    section = Section("cost", "Cost")
    said = figures.totals(runs)
    if not said:
        section.missing("NO_COST")
        return section
    section.paragraphs.append(f"All runs together: {', '.join(said)}.")
    section.panels = _cost_panels(runs)
    return section


def _cost_panels(runs: pd.DataFrame) -> list[Panel]:
    panels = []
    runs = runs[runs["label"].isin(labels_for_curves(runs))]
    seconds = "cost/train_seconds"
    for x, label, name in (
        (FLOPS, "training FLOPs", "flops"),
        (seconds, "training time (seconds)", "seconds"),
    ):
        for metric in ("eff/contrastive_entropy", "ood/contrastive_entropy"):
            if not {x, metric} <= set(runs) or runs[x].nunique() < 2 or (x == seconds and metric[0] == "o"):
                continue
            means = aggregate(runs[runs[x] > 0], (metric, x)).table
            if len(means):
                title = f"{objective_name(metric)} against {label}"
                panels.append(figures.cost_panel(means, x, metric, f"cost-{name}-{metric[:3]}", title, label))
    if seconds in runs and SIZE in runs and runs[SIZE].nunique() > 1 and (runs[seconds] > 0).any():
        panels.append(figures.time_panel(aggregate(runs[runs[seconds] > 0], (seconds,)).table, seconds))
    return panels

"""Sections on what a practitioner asks: ranking quality beside BM25, domains, cost."""

from __future__ import annotations

import pandas as pd

from sweeps.fitting.configurations import FLOPS, aggregate
from sweeps.fitting.points import SIZE
from sweeps.report.curves import best_slice, curves_along, labels_for_curves
from sweeps.report.figures.curves import curve_panel, objective_name
from sweeps.report.figures.quality import cost_panel, ranking_panel, time_panel, totals
from sweeps.report.figures.style import Panel
from sweeps.report.page import Section
from sweeps.table.runs import ood_domains

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
            section.panels.append(ranking_panel(curves, _bm25(runs, metric), f"ranking-{prefix}"))
    if not section.panels:
        section.missing("NO_RANKING_METRIC")
    elif not any(_bm25(runs, f"{prefix}/{RANKING}") is not None for prefix in ("eff", "ood")):
        section.missing("NO_BM25")
    return section


def _bm25(runs: pd.DataFrame, metric: str) -> float | None:
    """BM25's value, the same for all runs of one collection; ``None`` where it is not, or is missing."""
    key = f"bm25/{metric}"
    values = runs[key].dropna() if key in runs else pd.Series(dtype=float)
    return float(values.iloc[0]) if len(values) and values.max() - values.min() < 1e-9 else None


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
            section.panels.append(curve_panel(curves, f"domain-{len(section.panels) + 1}", title, caption))
    if len(names) > MAX_DOMAINS:
        section.paragraphs.append(
            f"{MAX_DOMAINS} of {len(names)} are drawn; all are in tables/runs.csv: {', '.join(names)}."
        )
    return section


def domains(runs: pd.DataFrame) -> list[str]:
    """OOD test domains with a contrastive entropy, by name."""
    return sorted(ood_domains(runs, "contrastive_entropy"), key=lambda name: f"{name}/")


def cost_section(runs: pd.DataFrame) -> Section:
    """What runs cost, and what that buys."""
    section = Section("cost", "Cost")
    said = totals(runs)
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
                panels.append(cost_panel(means, x, metric, f"cost-{name}-{metric[:3]}", title, label))
    if seconds in runs and SIZE in runs and runs[SIZE].nunique() > 1 and (runs[seconds] > 0).any():
        panels.append(time_panel(aggregate(runs[runs[seconds] > 0], (seconds,)).table, seconds))
    return panels

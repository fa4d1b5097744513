"""The section on attacks: their curves by strategy, with the controls."""

from __future__ import annotations

import math

import pandas as pd

from sweeps.report.figures.attack_curves import attack_curves_panel
from sweeps.report.page import PageTable, Section
from sweeps.robustness.attack_curves import AttackCurve, attack_curves


def attacks_section(runs: pd.DataFrame) -> Section | None:
    """Curves and areas under them; ``None`` where no run was attacked by a search."""
    curves = attack_curves(runs)
    if not curves:
        return None
    section = Section("attacks", "What budget an attack needs")
    section.paragraphs.append(
        "Every attack is one search, and its curve says what each smaller budget would have reached. The "
        "area under the curve is a share of the largest possible one; lower is more robust. Random edits at "
        "the whole budget and BM25 with the same texts stand beside it. Differences between strategies, "
        "paired and corrected, are in the transfer matrix and in `python -m sweeps compare "
        "--metric adv/NAME/auc`."
    )
    section.panels = [
        attack_curves_panel(attack, [one for one in curves if one.attack == attack])
        for attack in dict.fromkeys(one.attack for one in curves)
    ]
    headings = ["attack", "strategy", "runs", "area", "top-10 rate", "random edits", "BM25"]
    section.tables = [
        PageTable(
            headings, [False, False, *[True] * 5], [_row(one) for one in curves], "tables/attack-curves.csv"
        )
    ]
    return section


def _row(one: AttackCurve) -> list[str]:
    return [
        one.attack,
        one.label,
        str(one.runs),
        _with(one.area, one.area_half),
        _with(float(one.rates[-1]), float(one.half[-1])),
        "" if one.random is None else f"{one.random:.3f}",
        "" if one.bm25 is None else f"{one.bm25:.3f}",
    ]


def _with(value: float, half: float) -> str:
    return f"{value:.3f}" if math.isnan(half) else f"{value:.3f} ± {half:.3f}"

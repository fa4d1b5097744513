"""Section on mixture laws: how both objectives depend on ω, and the best ω at every cell."""

from __future__ import annotations

from typing import Any

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.frontier.trace import EFFECTIVENESS, ROBUSTNESS
from sweeps.mixture.fit import EFFECTIVENESS as DEV_EFFECTIVENESS
from sweeps.mixture.fit import ROBUSTNESS as DEV_ROBUSTNESS
from sweeps.mixture.fit import MixtureOptions, fit_mixture
from sweeps.mixture.present import omega
from sweeps.mixture.record import Mixture
from sweeps.mixture.runs import RULE
from sweeps.report.figures.mixture import mixture_panels
from sweeps.report.page import Finding, Section
from sweeps.report.tables import PageTable
from sweeps.report.tradeoff import Tradeoff
from sweeps.report.written import Written

MAX_SIZES = 3
"""Model sizes whose curves are drawn, the smallest ones left out."""


def mixture_part(runs: pd.DataFrame, written: Written) -> Tradeoff | None:
    """The mixture law of the fixed-ω runs, in dev metrics where the runs have them; ``None`` without any.

    Runs that do not make a law leave a note with the reason.
    """
    if RULE not in runs or not (runs[RULE] == "fixed").any():
        return None
    part = Tradeoff(Section("mixture", "Which share of robustness data"))
    dev = all(name in runs and runs[name].notna().any() for name in (DEV_EFFECTIVENESS, DEV_ROBUSTNESS))
    eff, rob = (DEV_EFFECTIVENESS, DEV_ROBUSTNESS) if dev else (EFFECTIVENESS, ROBUSTNESS)
    by = tuple(name for name in ("model", "frac") if name in runs)
    try:
        record = written.find(Mixture, part.section)
        record = record or fit_mixture(runs, MixtureOptions(eff, rob, by))
    except ParetrieveError as error:
        part.section.missing("NO_MIXTURE_LAW", str(error))
        return part
    part.records["mixture"] = record
    part.findings = [Finding(item, "mixture law") for item in record.warnings]
    part.section.paragraphs.append(_sentence(record))
    part.section.panels = _panels(record)
    part.section.tables = [_table(record)]
    return part


def _sentence(record: Mixture) -> str:
    knee = record.optimum["knee"]
    metrics, forms = record.metrics, record.form
    text = (
        "ω is the weight of the robustness loss, and the share of the pairs that it sees. The law of "
        f"{metrics['eff']} is {forms['eff']}, that of {metrics['rob']} is {forms['rob']}. The ω with the "
        f"least sum of both follows logit ω* = {knee.intercept:.3g} {knee.ln_train_pairs:+.3g}·ln D "
        f"{knee.ln_params_non_embedding:+.3g}·ln N"
    )
    missed = [abs(held.predicted.omega - held.fitted) for held in record.holdout]
    if missed:
        text += f"; fitted without the largest sizes, it moves there by up to {max(missed):.2f}"
    return text + "."


def _panels(record: Mixture) -> list[Any]:
    panels = mixture_panels(record)
    return panels if len(panels) <= 2 * MAX_SIZES + 1 else panels[-2 * MAX_SIZES - 1 :]


def _table(record: Mixture) -> PageTable:
    rows = []
    for cell in record.cells:
        best = [omega(cell.optimum[goal]) for goal in ("knee", "eff", "rob")]
        where = " ".join(str(cell.where[name]) for name in record.by)
        rows.append([where, f"{cell.train_pairs:.0f}", *best])
    headings = ["cell", "pairs", "best ω for both", "for effectiveness", "for robustness"]
    return PageTable(headings, [False, True, True, True, True], rows, "tables/mixture.csv")

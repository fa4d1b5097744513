"""The section on efficiency: what the baseline needs to match the other strategies."""

from __future__ import annotations

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.efficiency import EfficiencyOptions, Fits, efficiency
from sweeps.efficiency.multipliers import IN_WORDS
from sweeps.efficiency.multipliers import written as in_words
from sweeps.efficiency.options import INTERPOLATED
from sweeps.efficiency.record import Efficiency, Row
from sweeps.frontier.trace import EFFECTIVENESS, ROBUSTNESS
from sweeps.report.curves import labels_for_curves
from sweeps.report.figures.efficiency import efficiency_panel
from sweeps.report.page import Finding, Section
from sweeps.report.tables import PageTable
from sweeps.report.tradeoff import Tradeoff
from sweeps.report.written import Written

NAMES = {EFFECTIVENESS: "effectiveness", ROBUSTNESS: "OOD robustness"} | IN_WORDS
"""What a row of the tables holds, in this order."""


def efficiency_part(runs: pd.DataFrame, written: Written, baseline: str = "standard") -> Tradeoff:
    """Multipliers of every strategy over the baseline; curves are drawn for the most interesting one."""
    part = Tradeoff(Section("efficiency", f"What {baseline} needs to match the others"))
    labels = [label for label in labels_for_curves(runs) if label != baseline]
    if baseline not in set(runs["label"]) or not labels:
        have = ", ".join(sorted(runs["label"].unique()))
        text = f"a multiplier compares {baseline} with another strategy; the runs have {have}"
        part.section.missing("NO_COMPARISON", text)
        return part
    fitted: Fits = {}
    for label in labels:
        for law, suffix in (("auto", ""), (INTERPOLATED, f"-{INTERPOLATED}")):
            try:
                record = _record(part, runs, (baseline, label), law, fitted, written)
            except ParetrieveError as error:
                note = f"{label}: {error}"
                if note not in part.section.notes:
                    part.section.notes.append(note)
                continue
            name = f"efficiency-{label}{suffix}"
            part.records[name] = record
            concerns = name.replace("-", ", ", 1)
            part.findings += [Finding(item, concerns) for item in record.warnings]
    if part.records:
        _show(part, baseline)
    return part


def _record(
    part: Tradeoff, runs: pd.DataFrame, pair: tuple[str, str], law: str, fitted: Fits, written: Written
) -> Efficiency:
    """One comparison under one law: as the command wrote it, or else computed."""

    def wanted(record: Efficiency) -> bool:
        same = (record.law == INTERPOLATED) == (law == INTERPOLATED)
        return same and (record.baseline, record.strategy) == pair

    metrics = tuple(name for name in (EFFECTIVENESS, ROBUSTNESS) if name in runs and runs[name].notna().any())
    options = EfficiencyOptions(metrics=metrics, law=law)
    found = written.find(Efficiency, part.section, wanted)
    return found or efficiency(runs, *pair, options, fitted=fitted)


def _show(part: Tradeoff, baseline: str) -> None:
    part.section.paragraphs += [
        f"The multiplier m at a scale solves L_{baseline}(m · scale) = L_strategy(scale). “To match both” is "
        f"the larger of the metrics' multipliers: what {baseline} needs to be as good in both. “In each” is "
        "the smaller: it needs at least that in each of them.",
        f"Under “{INTERPOLATED}” the baseline's means are joined by lines and nothing is said beyond them "
        "(“> 3” is more than the largest amount it was run with); other laws are fitted and reach beyond.",
    ]
    records = [record for record in part.records.values() if isinstance(record, Efficiency)]
    part.section.tables = [_headlines(records)]
    levels = _levels(records)
    if levels.rows:
        part.section.tables.append(levels)
    for measured in (False, True):
        found = [record for record in records if (record.law == INTERPOLATED) == measured]
        if found:
            record = next((one for one in found if one.strategy == "pareto"), found[0])
            drawn = [resource for resource in record.headline if resource == "D" or not measured]
            part.section.panels += [efficiency_panel(record, resource) for resource in drawn]


def _headlines(records: list[Efficiency]) -> PageTable:
    """One row a strategy, law and resource: the largest scale run."""
    rows = [
        [record.strategy, resource, head.at.name, f"{head.scale:.3g}", *_cells(head)]
        for record in records
        for resource, head in record.headline.items()
    ]
    headings = ["strategy", "on", "at", "scale", *NAMES.values(), "law"]
    numeric = [False, False, False, *[True] * (1 + len(NAMES)), False]
    return PageTable(headings, numeric, rows, "tables/efficiency.csv")


def _levels(records: list[Efficiency]) -> PageTable:
    """One row a strategy, model, number of training pairs and law."""
    found = [
        (record.strategy, level.row) for record in records for level in record.levels if level.resource == "D"
    ]
    found.sort(key=lambda item: (item[0], item[1].at.name, item[1].scale))
    rows = [[strategy, row.at.name, f"{row.scale:,.0f}", *_cells(row)] for strategy, row in found]
    headings = ["strategy", "at", "training pairs D", *NAMES.values(), "law"]
    numeric = [False, False, *[True] * (1 + len(NAMES)), False]
    return PageTable(headings, numeric, rows, "tables/efficiency-levels.csv")


def _cells(row: Row) -> list[str]:
    return [*(in_words(row, name) if name in row.by else "" for name in NAMES), row.law]

"""Section on strategies compared seed by seed in every cell, and the regret of rules of ω."""

from __future__ import annotations

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.comparison import CompareOptions, compare
from sweeps.comparison.cells import fixed_omegas
from sweeps.comparison.present import judged, regret_rows, verdict
from sweeps.comparison.record import Comparison
from sweeps.frontier.trace import EFFECTIVENESS, ROBUSTNESS
from sweeps.report.curves import labels_for_curves
from sweeps.report.page import Finding, Section
from sweeps.report.tables import PageTable
from sweeps.report.tradeoff import Tradeoff
from sweeps.report.written import Written


def comparison_part(runs: pd.DataFrame, written: Written, baseline: str = "standard") -> Tradeoff | None:
    """Every strategy less the baseline, in both metrics; ``None`` where there is nothing to compare."""
    labels = [label for label in labels_for_curves(runs) if label != baseline]
    lacking = {EFFECTIVENESS, ROBUSTNESS, "seed"} - set(runs)
    if lacking or not labels or baseline not in set(runs["label"]):
        return None
    part = Tradeoff(Section("comparison", f"Seed by seed against {baseline}"))
    for label in labels:
        try:
            record = _record(part, runs, (baseline, label), written)
        except ParetrieveError as error:
            part.section.notes.append(f"{label}: {error}")
            continue
        part.records[f"compare-{label}"] = record
        part.findings += [Finding(item, f"comparison of {label}") for item in record.warnings]
    found = [record for record in part.records.values() if isinstance(record, Comparison)]
    if found:
        _show(part.section, found, baseline)
    return part


def _record(part: Tradeoff, runs: pd.DataFrame, pair: tuple[str, str], written: Written) -> Comparison:
    """As the command wrote it, or else computed; regrets where ω was kept at several values."""
    known = written.find(Comparison, part.section, lambda record: (record.baseline, record.strategy) == pair)
    by = tuple(name for name in ("model", "frac") if name in runs)
    kept = fixed_omegas(runs)
    options = CompareOptions(by=by, regret=len(kept) > 2 and pair[1] not in kept)
    return known or compare(runs, *pair, options)


def _show(section: Section, records: list[Comparison], baseline: str) -> None:
    section.paragraphs += [
        f"Strategy less {baseline}, mean over the seeds that both were run with: negative is better. Beside "
        "it stand its t interval and the p value of no difference, corrected over the cells; a star marks "
        "what is decided. Regret is what a policy loses against the best fixed ω of each cell."
    ]
    names = list(dict.fromkeys(name for record in records for name in record.counts))
    rows = [
        [record.strategy, cell.name, str(next(iter(cell.by.values())).n)]
        + [judged(cell.by[name]) if name in cell.by else "" for name in names]
        for record in records
        for cell in record.cells
    ]
    numeric = [False, False, *[True] * (1 + len(names))]
    section.tables.append(
        PageTable(["strategy", "cell", "pairs", *names], numeric, rows, "tables/compare.csv")
    )
    for record in records:
        for name, ways in record.regret.by.items() if record.regret else ():
            said = [verdict(record.strategy, words, found) for words, found in ways.known(name).items()]
            section.paragraphs += [f"Regret in {name}, {text}." for text in said]
    regrets = [record.regret for record in records if record.regret and "mean" in record.regret.by]
    if regrets and regrets[0].by["mean"].known("mean"):
        heading, *policies = regret_rows(regrets[0], "mean")
        others = [regret_rows(regret, "mean")[1] for regret in regrets[1:]]
        headings = ["policy, regret in the mean", *heading[1:]]
        numeric = [False, *[True] * (len(headings) - 1)]
        section.tables.append(PageTable(headings, numeric, [*policies, *others], "tables/regret.csv"))

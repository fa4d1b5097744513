"""Sections that hold the strategies against a baseline: seed by seed, and what it needs to match them."""

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.comparison import CompareOptions, compare
from sweeps.comparison.cells import fixed_omegas
from sweeps.comparison.record import Comparison, judged, regret_rows, verdict
from sweeps.efficiency import EfficiencyOptions, Fits, efficiency
from sweeps.efficiency.multipliers import IN_WORDS
from sweeps.efficiency.multipliers import written as in_words
from sweeps.efficiency.record import INTERPOLATED, Efficiency, Row
from sweeps.frontier.trace import EFFECTIVENESS, ROBUSTNESS
from sweeps.report.curves import labels_for_curves
from sweeps.report.figures.efficiency import efficiency_panel
from sweeps.report.page import PageTable, Section
from sweeps.report.tradeoff import cell_columns
from sweeps.report.written import Written

NAMES = {EFFECTIVENESS: "effectiveness", ROBUSTNESS: "OOD robustness"} | IN_WORDS
"""What a row of the tables of efficiency holds, in this order."""


def comparison_section(runs: pd.DataFrame, written: Written, baseline: str = "standard") -> Section | None:
    """The section on every strategy less the baseline; ``None`` where there is nothing to compare."""
    labels = [label for label in labels_for_curves(runs) if label != baseline]
    lacking = {EFFECTIVENESS, ROBUSTNESS, "seed"} - set(runs)
    if lacking or not labels or baseline not in set(runs["label"]):
        return None
    section = Section("comparison", f"Seed by seed against {baseline}")
    found = []
    for label in labels:
        try:
            record = _compared(section, runs, (baseline, label), written)
        except ParetrieveError as error:
            section.notes.append(f"{label}: {error}")
            continue
        section.hold(f"compare-{label}", record, record.warnings, f"comparison of {label}")
        found.append(record)
    if found:
        _show_compared(section, found, baseline)
    return section


def _compared(section: Section, runs: pd.DataFrame, pair: tuple[str, str], written: Written) -> Comparison:
    """As the command wrote it, or else computed; regrets where ω was kept at several values."""
    kept = fixed_omegas(runs)
    options = CompareOptions(by=cell_columns(runs), regret=len(kept) > 2 and pair[1] not in kept)

    def wanted(record: Comparison) -> bool:
        same = (tuple(record.metrics), tuple(record.by)) == (options.metrics, options.by)
        regrets = record.regret is not None or not options.regret
        return same and regrets and (record.baseline, record.strategy) == pair

    return written.find(Comparison, section, wanted) or compare(runs, *pair, options)


def _show_compared(section: Section, records: list[Comparison], baseline: str) -> None:
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


def efficiency_section(runs: pd.DataFrame, written: Written, baseline: str = "standard") -> Section:
    """The section on multipliers over the baseline; the most interesting strategy gets curves."""
    section = Section("efficiency", f"What {baseline} needs to match the others")
    records = []
    labels = [label for label in labels_for_curves(runs) if label != baseline]
    if baseline not in set(runs["label"]) or not labels:
        have = ", ".join(sorted(runs["label"].unique()))
        text = f"a multiplier compares {baseline} with another strategy; the runs have {have}"
        section.missing("NO_COMPARISON", text)
        return section
    fitted: Fits = {}
    for label in labels:
        for law, suffix in (("auto", ""), (INTERPOLATED, f"-{INTERPOLATED}")):
            try:
                record = _efficiency(section, runs, (baseline, label), law, fitted, written)
            except ParetrieveError as error:
                note = f"{label}: {error}"
                if note not in section.notes:
                    section.notes.append(note)
                continue
            name = f"efficiency-{label}{suffix}"
            section.hold(name, record, record.warnings, name.replace("-", ", ", 1))
            records.append(record)
    if records:
        _show_efficiencies(section, records, baseline)
    return section


def _efficiency(
    section: Section, runs: pd.DataFrame, pair: tuple[str, str], law: str, fitted: Fits, written: Written
) -> Efficiency:
    """One comparison under one law: as the command wrote it, or else computed."""

    def wanted(record: Efficiency) -> bool:
        same = (record.law == INTERPOLATED) == (law == INTERPOLATED) and tuple(record.metrics) == metrics
        return same and (record.baseline, record.strategy) == pair

    metrics = tuple(name for name in (EFFECTIVENESS, ROBUSTNESS) if name in runs and runs[name].notna().any())
    options = EfficiencyOptions(metrics=metrics, law=law)
    found = written.find(Efficiency, section, wanted)
    return found or efficiency(runs, *pair, options, fitted=fitted)


def _show_efficiencies(section: Section, records: list[Efficiency], baseline: str) -> None:
    section.paragraphs += [
        f"The multiplier m at a scale solves L_{baseline}(m · scale) = L_strategy(scale). “To match both” is "
        f"the larger of the metrics' multipliers: what {baseline} needs to be as good in both. “In each” is "
        "the smaller: it needs at least that in each of them.",
        f"Under “{INTERPOLATED}” the baseline's means are joined by lines and nothing is said beyond them "
        "(“> 3” is more than the largest amount it was run with); other laws are fitted and reach beyond.",
    ]
    section.tables = [_headlines(records)]
    levels = _levels(records)
    if levels.rows:
        section.tables.append(levels)
    for measured in (False, True):
        found = [record for record in records if (record.law == INTERPOLATED) == measured]
        if found:
            record = min(found, key=_rank_as_shown)
            drawn = [resource for resource in record.headline if resource == "D" or not measured]
            section.panels += [efficiency_panel(record, resource) for resource in drawn]


def _rank_as_shown(record: Efficiency) -> int:
    """0 for Pareto training by its default rule, 1 by another, 2 for other strategies."""
    if record.strategy == "pareto":
        return 0
    return 1 if record.strategy.startswith("pareto") else 2


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

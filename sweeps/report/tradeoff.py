"""Sections on both objectives together: frontier, mixture law and sensitivities."""

import pandas as pd

from retrieval.errors import ParetrieveError
from sweeps.fitting.sensitivity import SensitivityFile, sensitivities
from sweeps.frontier.record import Front, Frontier
from sweeps.frontier.trace import DEV, EFFECTIVENESS, ROBUSTNESS, FrontierOptions, frontier
from sweeps.mixture.checks import omega
from sweeps.mixture.fit import MixtureOptions, fit_mixture
from sweeps.mixture.record import Mixture
from sweeps.mixture.runs import RULE
from sweeps.report.curves import labels_for_curves
from sweeps.report.figures.curves import objective_in_text
from sweeps.report.figures.omega import mixture_panels
from sweeps.report.figures.plane import cell_panel, cells_panel, moving_panel, plane_panel
from sweeps.report.page import PageTable, Section, cell, percent, without_blank
from sweeps.report.written import Written

MAX_SIZES = 3
"""Model sizes whose mixture curves are drawn, the smallest ones left out."""


def cell_columns(runs: pd.DataFrame) -> tuple[str, ...]:
    """The columns of a table whose values make a cell."""
    return tuple(name for name in ("model", "frac") if name in runs)


def frontier_section(runs: pd.DataFrame, written: Written) -> Section:
    """The section on the frontier over all runs and of every model and fraction."""
    section = Section("frontier", "Effectiveness against robustness")
    try:
        # One that steers is drawn in dev metrics; the page reports test metrics.
        record = written.find(Frontier, section, _in_test_metrics)
        record = record or frontier(runs, FrontierOptions(by=cell_columns(runs)))
    except ParetrieveError as error:
        section.missing("NO_FRONTIER", str(error))
        return section
    section.hold("frontier", record, record.warnings, "frontier")
    section.paragraphs += [_knee_sentence(record.front), *_moving_sentences(record)]
    drawn = (plane_panel(record), cell_panel(record), cells_panel(record), moving_panel(record))
    section.panels = [panel for panel in drawn if panel]
    section.tables = [_frontier_table(record.front)]
    if runs["label"].nunique() == 1:
        section.missing("ONE_STRATEGY")
    return section


def _in_test_metrics(record: Frontier) -> bool:
    return not record.steers and (record.front.x, record.front.y) == (EFFECTIVENESS, ROBUSTNESS)


def _knee_sentence(front: Front) -> str:
    knee, area = front.knee, front.hypervolume
    text = f"The knee of the frontier is {knee.configuration} ({knee.x:.3f}, {knee.y:.3f})"
    if front.rho is not None:
        text += f": ρ* = R*/E* = {front.rho:.3f}, so ω₀ = R*/(E*+R*) = {front.omega_0:.3f}"
    corner = ", ".join(f"{value:.3f}" for value in area.reference)
    text += f". The hypervolume up to ({corner}) is {area.value:.3f}"
    if area.interval is not None:
        text += f" [{area.interval[0]:.3f}, {area.interval[1]:.3f}] under seed noise"
    return text + "."


def _moving_sentences(record: Frontier) -> list[str]:
    said = []
    for axis, change in record.scaling.items():
        what = {"N": "model size", "D": "training pairs"}[axis]
        parts = []
        for metric, by, ends in (
            (record.front.x, change.x, change.x_interval),
            (record.front.y, change.y, change.y_interval),
        ):
            inside = "" if ends is None else f" [{percent(ends[0])}, {percent(ends[1])}]"
            parts.append(f"{objective_in_text(metric)} by {percent(by)}{inside}")
        said.append(f"Doubling the {what} moves the knee of a cell: {' and '.join(parts)}.")
    return said


def _frontier_table(front: Front) -> PageTable:
    rows = [
        [
            *(point.configuration, cell(point.x, "{:.4f}"), cell(point.y, "{:.4f}")),
            cell(point.probability_non_dominated, "{:.2f}"),
            str(len(point.seeds) or ""),
        ]
        for point in front.best
    ]
    headings = ["non-dominated configuration", front.x, front.y, "P(non-dominated)", "seeds"]
    return without_blank(PageTable(headings, [False, True, True, True, True], rows, "tables/frontier.csv"))


def mixture_section(runs: pd.DataFrame, written: Written) -> Section | None:
    """The section on the law of fixed-ω runs, in dev metrics where there are; ``None`` without any.

    Runs that do not make a law leave a note with the reason.
    """
    if RULE not in runs or not (runs[RULE] == "fixed").any():
        return None
    section = Section("mixture", "Which share of robustness data")
    dev = all(name in runs and runs[name].notna().any() for name in DEV)
    try:
        metrics = DEV if dev else (EFFECTIVENESS, ROBUSTNESS)
        record = written.find(
            Mixture, section, lambda found: tuple(found.metrics.values()) == metrics, of_some=True
        )
        record = record or fit_mixture(runs, MixtureOptions(*metrics, cell_columns(runs)))
    except ParetrieveError as error:
        section.missing("NO_MIXTURE_LAW", str(error))
        return section
    section.hold("mixture", record, record.warnings, "mixture law")
    section.paragraphs.append(_mixture_sentence(record))
    section.panels = mixture_panels(record)[-2 * MAX_SIZES - 1 :]
    section.tables = [_mixture_table(record)]
    return section


def _mixture_sentence(record: Mixture) -> str:
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


def _mixture_table(record: Mixture) -> PageTable:
    rows = []
    for one in record.cells:
        best = [omega(one.optimum[goal]) for goal in ("knee", "eff", "rob")]
        where = " ".join(str(one.where[name]) for name in record.by)
        rows.append([where, f"{one.train_pairs:.0f}", *best])
    headings = ["cell", "pairs", "best ω for both", "for effectiveness", "for robustness"]
    return PageTable(headings, [False, True, True, True, True], rows, "tables/mixture.csv")


def _by_strategy(file: SensitivityFile) -> bool:
    pairs = {(found.first, found.second) for found in file.groups.values()}
    return file.by == "strategy" and pairs <= {(EFFECTIVENESS, ROBUSTNESS)}


def sensitivity_section(runs: pd.DataFrame, written: Written) -> Section:
    """The section on how differently both metrics respond to N and to D, by strategy."""
    section = Section("sensitivity", "Sensitivity to size and data")
    rows = []
    file = written.find(SensitivityFile, section, _by_strategy)
    for label in labels_for_curves(runs, limit=3):
        table = runs[runs["label"] == label].drop(columns="strategy", errors="ignore")
        try:
            written_one = file.groups.get(label) if file else None
            found = written_one or sensitivities(
                table.dropna(subset=[EFFECTIVENESS, ROBUSTNESS]), EFFECTIVENESS, ROBUSTNESS
            )
        except (ParetrieveError, KeyError) as error:
            section.notes.append(f"{label}: {str(error).strip(chr(39))}")
            continue
        section.hold(f"sensitivity-{label}", found)
        for item in found.differences:
            if item.kind == "local":
                rows.append(
                    [
                        *(label, {"N": "model size", "D": "training pairs"}[item.resource]),
                        f"{item.first:.3f} [{item.first_interval[0]:.3f}, {item.first_interval[1]:.3f}]",
                        f"{item.second:.3f} [{item.second_interval[0]:.3f}, {item.second_interval[1]:.3f}]",
                        f"{item.difference:+.3f} [{item.interval[0]:+.3f}, {item.interval[1]:+.3f}]",
                        f"{item.p:.3f}",
                        item.verdict("effectiveness", "robustness", 0.05),
                    ]
                )
    if rows:
        section.paragraphs.append(
            "Local sensitivity: the relative fall of the contrastive entropy per relative growth of the "
            "resource, −∂ ln CE/∂ ln resource, at the centre of the sweep under the joint law; both metrics "
            "are resampled together."
        )
        headings = ["strategy", "resource", "effectiveness", "OOD robustness", "difference", "p", "verdict"]
        numeric = [False, False, True, True, True, True, False]
        section.tables.append(PageTable(headings, numeric, rows, "tables/sensitivity.csv", ("verdict",)))
    return section

"""The head of the page: what the runs show, in sentences and numbers a reader takes away."""

from collections.abc import Mapping, Sequence

import pandas as pd

from sweeps.efficiency.multipliers import BOTH, EACH, IN_WORDS, written
from sweeps.efficiency.record import Efficiency
from sweeps.fitting.configurations import label_order
from sweeps.fitting.points import PAIRS, SIZE
from sweeps.frontier.record import Frontier
from sweeps.frontier.trace import EFFECTIVENESS, ROBUSTNESS
from sweeps.records import Record
from sweeps.report.curves import Curve
from sweeps.report.figures.curves import objective_in_text
from sweeps.report.figures.style import quantity
from sweeps.report.page import Finding, with_interval


def facts(runs: pd.DataFrame, records: Mapping[str, Record]) -> list[tuple[str, str]]:
    """Numbers at the head of the page."""
    count = runs["configuration"].nunique()
    found = [
        (str(len(runs)), f"finished {plural('run', len(runs))}"),
        (str(count), plural("configuration", count)),
    ]
    if SIZE in runs:
        found.append((_span(runs[SIZE]), f"parameters N, {_count(runs[SIZE], 'size')}"))
    if PAIRS in runs:
        found.append((_span(runs[PAIRS]), f"training pairs D, {_count(runs[PAIRS], 'amount')}"))
    frontier = records.get("frontier")
    if isinstance(frontier, Frontier) and frontier.front.rho is not None:
        found.append((f"{frontier.front.rho:.2f}", "ρ* = R*/E* at the frontier's knee"))
    pareto = records.get("efficiency-pareto")
    if isinstance(pareto, Efficiency) and "D" in pareto.headline:
        head = pareto.headline["D"]
        where = f"at {quantity(head.scale)} pairs"
        both, each = (written(head, name, bare=True) for name in (BOTH, EACH))
        found.append((both, f"data {pareto.baseline} needs to match both of pareto's, {where}"))
        found.append((each, f"data it needs in each of them, {where}"))
    return found


def _span(values: pd.Series) -> str:
    low, high = float(values.min()), float(values.max())
    return quantity(low) if low == high else f"{quantity(low)}–{quantity(high)}"


def _count(values: pd.Series, word: str) -> str:
    count = values.nunique()
    return f"{count} {plural(word, count)}"


def plural(word: str, count: int) -> str:
    """The word as it follows the count."""
    return word if count == 1 else f"{word}s"


def lead(
    runs: pd.DataFrame, curves: Sequence[Curve], records: Mapping[str, Record], findings: Sequence[Finding]
) -> list[str]:
    """Two or three sentences: what was run, how it scales, what to be careful about."""
    said = [_what(runs)]
    said += _scales(curves)
    pareto = records.get("efficiency-pareto")
    if isinstance(pareto, Efficiency) and "D" in pareto.headline:
        said.append(_worth(pareto))
    errors = {item.diagnostic.code for item in findings if item.diagnostic.level == "error"}
    cautions = {item.diagnostic.code for item in findings if item.diagnostic.level == "warning"}
    counts = [f"{len(c)} {plural(w, len(c))}" for c, w in ((errors, "error"), (cautions, "warning")) if c]
    if counts:
        codes = ", ".join([*sorted(errors), *sorted(cautions)][:4])
        said.append(f"Before quoting a number, read the {' and '.join(counts)} below, among them {codes}.")
    return said


def _worth(record: Efficiency) -> str:
    """How much data the baseline needs, at the least and at the most data that were run."""
    curve = record.last("D")
    small, large = curve.row(0), curve.row(-1)
    first, last = (quantity(line.scale) for line in (small, large))
    names = {name: f"on {objective_in_text(name)}" for name in (EFFECTIVENESS, ROBUSTNESS)}
    names |= IN_WORDS
    parts = [
        f"{words} {written(small, name)} at {first} and {written(large, name)} at {last}"
        for name, words in names.items()
        if name in curve.by
    ]
    return (
        f"Times as many training pairs as {record.strategy} that {record.baseline} needs for the same "
        f"value, {curve.at.name}: {'; '.join(parts)} ({100 * record.level:g} % intervals)."
    )


def _what(runs: pd.DataFrame) -> str:
    def listed(column: str) -> str:
        return ", ".join(sorted(set(map(str, runs[column])), key=label_order)) if column in runs else ""

    seeds = runs["seed"].nunique() if "seed" in runs else 0
    text = f"{len(runs)} finished {plural('run', len(runs))} on {listed('data') or 'one table'}"
    text += f"; {listed('label')}"
    return f"{text}; {seeds} {plural('seed', seeds)}." if seeds else f"{text}."


def _scales(curves: Sequence[Curve]) -> list[str]:
    """How effectiveness and OOD robustness of the first strategy change with data."""
    found = [
        next((c for c in curves if c.metric == metric and c.axis == "D" and c.fit is not None), None)
        for metric in (EFFECTIVENESS, ROBUSTNESS)
    ]
    shown = [item for item in found if item is not None and item.fit is not None]
    if not shown:
        return []
    where = f"{shown[0].where}, {shown[0].label}"
    if not all(item.points["y"].iloc[-1] < item.points["y"].iloc[0] for item in shown):
        return [f"Contrastive entropy does not fall with the training pairs in these runs ({where})."]
    ends = {item.metric: item.fit.intervals["beta"] for item in shown if item.fit is not None}
    if all(low is None and high is None for low, high in ends.values()):
        return [
            f"Contrastive entropy falls with the training pairs ({where}), "
            "but these runs do not determine by which power."
        ]
    betas = {
        c.metric: with_interval(c.fit.params["beta"], ends[c.metric]) for c in shown if c.fit is not None
    }
    parts = [f"β = {beta} for {objective_in_text(metric)}" for metric, beta in betas.items()]
    return [
        f"Contrastive entropy falls with the training pairs as a power law ({where}): {' and '.join(parts)}."
    ]

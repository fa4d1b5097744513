"""The transfer matrix: what training against one perturbation does for every kind of robustness.

A row is a strategy and the perturbation that it was trained against, a column a measure. An entry is the row
less the baseline, paired: runs of one cell (data, family, model, fraction) and seed form a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import pandas as pd

from retrieval.errors import ConfigError, DataError
from sweeps.comparison.cells import decided, difference, holm, without_seed
from sweeps.comparison.record import Judged
from sweeps.diagnostics import Diagnostic
from sweeps.fitting.agreement import refuse_mixtures
from sweeps.fitting.configurations import label_order, label_runs, labelled_only
from sweeps.records import OPTIONAL, Record
from sweeps.robustness.scale import Measure, measures
from sweeps.table.cells import seeds_of, texts_of
from sweeps.table.families import FAMILY
from sweeps.table.runs import Source

PERTURBATION = "perturbation/kind"
CELL = ("data", FAMILY, "model", "frac")
"""Columns in which the runs of a pair agree, beside the seed."""

_ENTROPY = "adv/contrastive_entropy"


@dataclass(frozen=True)
class Entry(Record):
    """One row and one column."""

    trained: str
    """Label, with the perturbation in words: ``adversarial, typo``."""
    strategy: str
    """Label of the strategy."""
    perturbation: str | None
    tested: str
    column: str
    """Of the table of runs; of a preference the entry is about its distance from one half."""
    judged: Judged
    """Row less baseline; means over the pairs."""


@dataclass(frozen=True)
class Transfer(Record):
    """``transfer.json``."""

    command: ClassVar[str] = "transfer"
    baseline: str
    level: float
    correction: str
    entries: list[Entry]
    source: Source | None = None
    warnings: list[Diagnostic] | None = field(default=None, metadata=OPTIONAL)
    """Of runs that were left out."""

    def rows(self) -> list[str]:
        """What was trained against, in order."""
        return list(dict.fromkeys(entry.trained for entry in self.entries))

    def columns(self) -> list[str]:
        """What was tested, in order."""
        return list(dict.fromkeys(entry.tested for entry in self.entries))

    def matrix(self) -> dict[tuple[str, str], Entry]:
        """Trained against and tested on -> entry."""
        return {(entry.trained, entry.tested): entry for entry in self.entries}


def measures_of(runs: pd.DataFrame, metrics: Sequence[str] = ()) -> list[Measure]:
    """The measures of a matrix: ``metrics``, or those of all kinds that any run has.

    An attack without a curve is measured by the contrastive entropy after it.

    Raises ConfigError where no run has a metric.
    """
    for name in metrics:
        if name not in runs:
            raise ConfigError(f"--metric {name}: no run has it; name a column of `sweeps collect`")
    if metrics:
        return [Measure(name, name) for name in metrics]
    found = measures(runs)
    attacks = any(one.column.startswith("adv/") for one in found)
    if not attacks and _ENTROPY in runs and runs[_ENTROPY].notna().any():
        found.append(Measure("attack", _ENTROPY))
    return found


def transfer(
    runs: pd.DataFrame, baseline: str = "standard", metrics: Sequence[str] = (), level: float = 0.95
) -> Transfer:
    """The matrix of all strategies and perturbations of a table.

    Args:
        runs: Rows with the columns of ``result.json``.
        baseline: Label of what the others are compared with.
        metrics: Columns to test on; none: the measures of all kinds.
        level: Of the intervals.

    Raises ConfigError: no run has the baseline's label, or a metric; DataError: nothing stands beside the
    baseline, or no pair has a common measure; FitRefusedError: a cell has several test sets.
    """
    labelled, unknown = labelled_only(label_runs(runs))
    kinds = texts_of(labelled[PERTURBATION]) if PERTURBATION in labelled else [""] * len(labelled)
    labelled = labelled.assign(trained=list(map(_name, labelled["label"], kinds)), kind=list(kinds))
    if baseline not in set(labelled["label"]):
        known = ", ".join(sorted(set(labelled["label"])))
        raise ConfigError(f"--baseline {baseline}: no such runs; the table has {known}")
    columns = measures_of(labelled, metrics)
    for column in columns:
        _check_cells(labelled, column)
    entries = []
    for trained, part in sorted(labelled.groupby("trained"), key=lambda item: label_order(str(item[0]))):
        if part["label"].iloc[0] != baseline:
            entries += list(_entries(labelled, str(trained), part, baseline, columns, level))
    if not entries:
        raise DataError(
            f"no runs stand beside {baseline} with a measure in common; train some with strategy=adversarial "
            "strategy.perturbation.kind=typo and the same eval.variations"
        )
    said = [*(one.finding for one in unknown), *without_seed(labelled)]
    decided = _corrected(entries, level)
    return Transfer(baseline, level, "Holm 1979, over the matrix", decided, warnings=said or None)


def _name(label: str, kind: str) -> str:
    return f"{label}, {kind}" if kind and f"{kind})" not in label else label


def _check_cells(labelled: pd.DataFrame, measure: Measure) -> None:
    names = [name for name in CELL if name in labelled]
    for _, part in labelled.groupby(names, dropna=False) if names else [((), labelled)]:
        own = part[measure.column].notna()
        refuse_mixtures(part[own], measure.column, several_strategies=True)


def _entries(
    labelled: pd.DataFrame,
    trained: str,
    part: pd.DataFrame,
    baseline: str,
    columns: Sequence[Measure],
    level: float,
) -> Iterator[Entry]:
    other = labelled[labelled["label"] == baseline]
    for measure in columns:
        first, second = (_by_pair(own, measure) for own in (other, part))
        shared = first.index.intersection(second.index)
        if len(shared):
            judged = difference(first[shared], second[shared], level)
            yield Entry(
                trained,
                str(part["label"].iloc[0]),
                str(part["kind"].iloc[0]) or None,
                measure.name,
                measure.column,
                judged,
            )


def _by_pair(runs: pd.DataFrame, measure: Measure) -> pd.Series:
    """The mean of a measure for every cell and seed."""
    names = [name for name in CELL if name in runs]
    parts = [*(texts_of(runs[name]) for name in names), texts_of(seeds_of(runs))]
    keys = [" · ".join(map(str, row)) for row in zip(*parts)]
    values = pd.Series(measure.values(runs), index=keys).dropna()
    return values.groupby(level=0).mean()


def _corrected(entries: list[Entry], level: float) -> list[Entry]:
    corrected = holm([entry.judged.p for entry in entries])
    return [
        replace(entry, judged=decided(entry.judged, entry.column, p, level))
        for entry, p in zip(entries, corrected, strict=True)
    ]


def rows_of(record: Transfer) -> list[list[str]]:
    """The matrix as text, below a heading: differences with half of their interval, * decided."""
    matrix, columns = record.matrix(), record.columns()
    lines = [["trained against", *columns]]
    for row in record.rows():
        entries = (matrix.get((row, column)) for column in columns)
        lines.append([row, *("" if entry is None else _cell(entry.judged) for entry in entries)])
    return lines


def _cell(judged: Judged) -> str:
    text = f"{judged.difference:+.3f}"
    if judged.low is not None and judged.high is not None:
        text += f" ± {(judged.high - judged.low) / 2:.3f}"
    return f"{text}*" if judged.better else text


def table_of(record: Transfer) -> pd.DataFrame:
    """One row an entry, at full precision."""
    return pd.DataFrame(
        {
            "trained_against": entry.trained,
            "strategy": entry.strategy,
            "perturbation": entry.perturbation,
            "tested_on": entry.tested,
            "column": entry.column,
            "baseline": entry.judged.baseline,
            "value": entry.judged.strategy,
            **{
                name: getattr(entry.judged, name)
                for name in ("difference", "low", "high", "p", "p_holm", "better")
            },
            "pairs": entry.judged.n,
        }
        for entry in record.entries
    )

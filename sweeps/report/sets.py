"""Tables of every test set by itself, with BM25 and the untrained model as rows of reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from sweeps.fitting.configurations import label_order
from sweeps.report.page import PageTable
from sweeps.table.cells import Floats, cell_number, cell_text, numbers
from sweeps.table.runs import ood_domains

METRICS = ("ndcg@10", "contrastive_entropy")

TOLERANCE = 1e-9
"""Values of BM25 that differ by less are of the same texts: the same sum in another order."""


def set_tables(runs: pd.DataFrame) -> list[PageTable]:
    """A table a metric: in-domain and every OOD test set, a row a configuration; none without OOD sets.

    ``runs``: labelled. A row holds means over seeds and their standard deviations. The first rows are of
    BM25, where all runs have the same texts, and of the model before training, where that was measured.
    """
    tables = []
    for metric in METRICS:
        names = sorted(ood_domains(runs, metric))
        keys = [f"eff/{metric}", *(f"ood/{name}/{metric}" for name in names)]
        keys = [key for key in keys if key in runs and runs[key].notna().any()]
        if names and keys:
            rows = [*_bm25(runs, keys), *_untrained(runs, keys), *_trained(runs, keys)]
            shown = ["in-domain" if key.startswith("eff/") else key.split("/")[1] for key in keys]
            headings = [metric.replace("_", " "), "model", "fraction", "seeds", *shown]
            numeric = [False, False, *[True] * (2 + len(keys))]
            tables.append(PageTable(headings, numeric, rows, f"tables/sets-{metric.replace('@', '-')}.csv"))
    return tables


def _bm25(runs: pd.DataFrame, keys: Sequence[str]) -> Iterator[list[str]]:
    values = [bm25_value(runs, key) for key in keys]
    if any(value is not None for value in values):
        yield ["BM25", "", "", "", *("" if value is None else f"{value:.3f}" for value in values)]


def bm25_value(runs: pd.DataFrame, metric: str) -> float | None:
    """BM25's value, the same for all runs of one collection; ``None`` where it is not, or is missing."""
    values = _finite(runs, f"bm25/{metric}")
    return float(values[0]) if values.size and np.ptp(values) < TOLERANCE else None


def _finite(runs: pd.DataFrame, column: str) -> Floats:
    """The numbers of a column, without those that are missing; empty without the column."""
    values: Floats = numbers(runs[column]) if column in runs else np.array([])
    return values[np.isfinite(values)]


def _untrained(runs: pd.DataFrame, keys: Sequence[str]) -> Iterator[list[str]]:
    columns = [f"untrained/{key}" for key in keys]
    if "model" not in runs or not any(name in runs for name in columns):
        return
    for model, part in runs.groupby("model", sort=True):
        found = [_mean(part, name) for name in columns]
        if any(found):
            yield ["untrained", str(model), "", "", *found]


def _trained(runs: pd.DataFrame, keys: Sequence[str]) -> Iterator[list[str]]:
    columns = [name for name in ("label", "model", "frac") if name in runs]
    groups = [(values, part) for values, part in runs.groupby(columns, dropna=False)]
    for values, part in sorted(
        groups, key=lambda item: (label_order(str(item[0][0])), *map(_rank, item[0][1:]))
    ):
        place = dict(zip(columns, values, strict=True))
        where = [str(place["label"]), *(cell_text(place.get(name, "")) for name in ("model", "frac"))]
        yield [*where, str(len(part)), *(_mean(part, key) for key in keys)]


def _rank(value: object) -> tuple[str, float]:
    return (value, 0.0) if isinstance(value, str) else ("", cell_number(value))


def _mean(runs: pd.DataFrame, column: str) -> str:
    """``.712 ± .003`` in full; the mean alone of one run, and of equal ones."""
    values = _finite(runs, column)
    if not values.size:
        return ""
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return f"{values.mean():.3f} ± {spread:.3f}" if spread > TOLERANCE else f"{values.mean():.3f}"

"""Baselines that are no runs of their own: the model before its training, and BM25."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from retrieval.errors import ConfigError
from sweeps.fitting.configurations import FLOPS
from sweeps.table.cells import is_blank

REFERENCES = {
    "untrained": "the model before its training, which eval.untrained=true measures",
    "bm25": "BM25 on the same queries and passages, which has ranking metrics alone",
}
"""Baseline -> what it is; a run holds its metrics in columns of that prefix, ``untrained/eff/ndcg@10``."""


def with_reference(
    labelled: pd.DataFrame, baseline: str, strategy: str, metrics: Sequence[str]
) -> pd.DataFrame:
    """Labelled runs, and one row more for each run of ``strategy`` that measured ``baseline``.

    Such a row has the run's seed and cell, and the reference's metrics in the place of its own. So a pair is
    what one run measured before its training and after it, or of BM25 and of itself. Runs are returned as
    they are where ``baseline`` is no reference, or is the label of a strategy.

    Raises ConfigError: no run of ``strategy`` has the reference's metrics.
    """
    if baseline not in REFERENCES or baseline in set(labelled["label"]):
        return labelled
    rows = labelled[labelled["label"] == strategy].copy()
    for metric in metrics:
        column = f"{baseline}/{metric}"
        if column in rows:
            rows = rows[~is_blank(rows[column])]
        if column not in rows or rows.empty:
            raise ConfigError(
                f"--baseline {baseline}: no run of {strategy} has {column}; it is {REFERENCES[baseline]}"
            )
        rows[metric] = rows[column]
    own = [name for name in rows if str(name).startswith(("dev/", "omega/")) or name in ("strategy", FLOPS)]
    return pd.concat([labelled, rows.drop(columns=own).assign(label=baseline)], ignore_index=True)

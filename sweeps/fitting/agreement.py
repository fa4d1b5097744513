"""What rows must agree in to share a fit, and what is said where some do not state it."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd

from retrieval.run.metric_names import rises_with_quality
from sweeps.diagnostics import Diagnostic, FitRefusedError, diagnose
from sweeps.table.cells import LeftOut, is_blank, numbers, texts_of
from sweeps.table.families import FAMILY, FIRST_STAGE, FULL_RANKING, families_of, first_stages_of

NEGATIVES = "eval/negatives"

ONE_VALUE = {
    "size/convention": ("MIXED_PARAM_CONVENTION", "parameter-count conventions"),
    NEGATIVES: ("MIXED_NEGATIVES_W", "numbers of negatives W"),
    "eval/pool": ("MIXED_EVALUATION", "evaluation pools"),
    "data/fingerprint": ("MIXED_COLLECTION", "collection fingerprints"),
    "data": ("MIXED_COLLECTION", "collections"),
    FAMILY: ("MIXED_FAMILY", "model families"),
    FIRST_STAGE: ("MIXED_FIRST_STAGE", "first stages of a ranking"),
    "strategy": ("MIXED_STRATEGY", "strategies"),
    "base_strategy": ("MIXED_STRATEGY", "base strategies"),
    "omega/rule": ("MIXED_STRATEGY", "rules for ω"),
    "omega/robust": ("MIXED_STRATEGY", "kinds of robustness data"),
    "omega/mixing": ("MIXED_STRATEGY", "ways to mix the losses"),
}
"""Column that must have one value in a fit -> diagnostic, what the values are."""


def refuse_mixtures(
    frame: pd.DataFrame,
    metric: str,
    several_strategies: bool = False,
    columns: Collection[str] = tuple(ONE_VALUE),
    by: str = "",
) -> None:
    """Raise FitRefusedError where rows must not be compared: other collections, pools, negatives.

    ``several_strategies``: rows of different strategies are what is wanted; a fit must have one.
    ``columns``: of ``ONE_VALUE``, those that must have one value.
    ``by``: what ``--by`` must say to keep families apart, where it can, for the message.
    """
    for column in columns:
        code, what = ONE_VALUE[column]
        if code == "MIXED_STRATEGY" and several_strategies:
            continue
        if column not in frame or not _concerns(column, metric):
            continue
        values = _values(frame, column)
        if len(values) > 1:
            shown = ", ".join(values[:4]) + (", …" if len(values) > 4 else "")
            hint = f"keep one: --where {column}={'' if values[0] == FULL_RANKING else values[0]}"
            if column == "strategy":
                hint = "--by strategy fits each"
            elif column == FAMILY and by:
                hint = f"--by {by} takes each by itself, or {hint}"
            if column == "data" and np.isfinite(numbers(frame[column].dropna())).all():
                hint += "; if data counts training pairs, say --d data"
            raise FitRefusedError(code, f"the rows mix {len(values)} {what} ({shown}); {hint}")


def _concerns(column: str, metric: str) -> bool:
    """Whether a metric depends on what stands in a column of :data:`ONE_VALUE`."""
    if column == NEGATIVES:
        return "contrastive_entropy" in metric
    return column != FIRST_STAGE or rises_with_quality(metric)


def _values(frame: pd.DataFrame, column: str) -> list[str]:
    """The values of a column; a blank cell says nothing, but where it has a meaning of its own."""
    meant = {FAMILY: families_of, FIRST_STAGE: first_stages_of}
    texts = meant[column](frame) if column in meant else texts_of(frame[column])
    return sorted(set(texts) - {""})


def judged(frame: pd.DataFrame, pairs: str, roles: Collection[str]) -> list[str]:
    """The columns of :data:`ONE_VALUE` that mean here what they are called.

    Those with a role of their own do not (``--d data``), nor does ``data`` where it repeats the training
    pairs of the column ``pairs`` in another unit.
    """
    found = set(roles)
    if "data" in frame and pairs in frame and np.isfinite(numbers(frame["data"].dropna())).all():
        levels = frame["data"].groupby(texts_of(frame[pairs])).nunique()
        if (levels <= 1).all() and len(levels) > 1:
            found.add("data")
    return [name for name in ONE_VALUE if name not in found]


_EXPECTED = ("size/convention", NEGATIVES, "eval/pool", "data/fingerprint", "data", "strategy")
"""Columns of :data:`ONE_VALUE` that every run states; those of ω belong to some strategies."""


def unstated(frame: pd.DataFrame, metric: str, columns: Collection[str]) -> Iterator[Diagnostic]:
    """SETTING_NOT_STATED where some rows leave open what the others agree in."""
    for column in _EXPECTED:
        if column not in columns or column not in frame:
            continue
        if column == NEGATIVES and "contrastive_entropy" not in metric:
            continue
        blank = is_blank(frame[column])
        if blank.any() and not blank.all():
            for rows in LeftOut.of(frame, blank, f"do not state {column}; taken to agree with the others"):
                yield diagnose("SETTING_NOT_STATED", str(rows))

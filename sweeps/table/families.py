"""The model family of every run: ``model_family``, which runs of the default family do not state."""

from __future__ import annotations

import pandas as pd

from retrieval.config import ModelConfig
from sweeps.table.cells import texts_of

FAMILY = "model_family"
FIRST_STAGE = "eval/first_stage"
"""What a run's rankings re-rank, such as ``bm25@100``; blank where they are full rankings."""

FULL_RANKING = "full ranking"

_KEY = "model.family"
"""The key of a configuration that sets it."""


def column_of(name: str) -> str:
    """The column that an option names: ``model.family`` of a configuration is ``model_family`` of a table."""
    return FAMILY if name == _KEY else name


def families_of(table: pd.DataFrame) -> pd.Series:
    """The family of every run, text[k]; runs that state none are dual encoders."""
    stated = texts_of(table[FAMILY]) if FAMILY in table else [""] * len(table)
    return pd.Series([text or ModelConfig.family for text in stated], index=table.index, dtype=object)


def with_families(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a family in every row."""
    return table.assign(**{FAMILY: families_of(table)})


def in_order(table: pd.DataFrame) -> list[str]:
    """The families of a table, the default one first, the others by name."""
    return sorted(set(families_of(table)), key=lambda name: (name != ModelConfig.family, name))


def first_stages_of(table: pd.DataFrame) -> pd.Series:
    """What each run's rankings re-rank, text[k]: ``full ranking`` where they re-rank nothing."""
    stated = texts_of(table[FIRST_STAGE]) if FIRST_STAGE in table else [""] * len(table)
    return pd.Series([text or FULL_RANKING for text in stated], index=table.index, dtype=object)

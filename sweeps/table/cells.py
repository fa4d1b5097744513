"""Cells of a table, read in one way by all commands: which are blank, which are numbers, what names a row."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sweeps.diagnostics import Diagnostic, TableError, diagnose, require_columns

Floats = NDArray[np.float64]

BLANK = frozenset({"", "na", "n/a", "#n/a", "nan", "<na>", "null", "nil"})
"""What stands in a cell without a value, in small letters (and None, but not none, which settings use)."""

SHOWN = 3
"""Rows that a message names."""


@dataclass(frozen=True)
class LeftOut:
    """Rows that a command does not use, and why."""

    why: str
    """As it goes on after their number: ``without a value of opt``."""
    rows: list[str]
    code: str = "ROWS_LEFT_OUT"

    def __str__(self) -> str:
        more = f" and {len(self.rows) - SHOWN} more" if len(self.rows) > SHOWN else ""
        noun = "row" if len(self.rows) == 1 else "rows"
        return f"{len(self.rows)} {noun} {self.why} ({', '.join(self.rows[:SHOWN])}{more})"

    @property
    def finding(self) -> Diagnostic:
        """What a record says of them."""
        return diagnose(self.code, f"left out: {self}")

    @classmethod
    def of(
        cls, table: pd.DataFrame, mask: Iterable[bool], why: str, code: str = "ROWS_LEFT_OUT"
    ) -> list[LeftOut]:
        """The rows of ``mask``; an empty list where there are none."""
        names = [name for name, out in zip(row_names(table), mask, strict=True) if out]
        return [cls(why, names, code)] if names else []


def clean(table: pd.DataFrame) -> pd.DataFrame:
    """A table whose blank cells are missing values, whose texts and names have no white space around them.

    A column of numbers written as text holds numbers, but for codes such as 007. Raises TableError where two
    columns have one name.
    """
    named = not isinstance(table.index, pd.RangeIndex) and any(name is not None for name in table.index.names)
    table = table.reset_index(drop=not named)
    table.columns = pd.Index([str(name).strip() for name in table.columns])
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise TableError(f"column {twice[0]!r} stands in the table twice; rename or remove one")
    return pd.DataFrame({name: _column(table[name]) for name in table}, index=table.index)


def _column(values: pd.Series) -> pd.Series:
    if not _holds_text(values):
        return values
    stripped = values.map(_value).astype(object)
    known = stripped.dropna()
    if not len(known):
        return pd.Series(np.nan, index=values.index, dtype=float)
    texts = [value for value in known if isinstance(value, str)]
    codes = any(re.match(r"0\d", text) for text in texts)
    if texts and not codes and np.isfinite(numbers(known)).all():
        return pd.to_numeric(stripped)
    # Texts among numbers have no order with them.
    return stripped.where(stripped.isna(), texts_of(stripped)) if texts else stripped


def _holds_text(values: pd.Series) -> bool:
    return values.dtype == object or isinstance(values.dtype, pd.StringDtype | pd.CategoricalDtype)


def _value(value: Any) -> Any:
    if isinstance(value, str):
        value = value.strip()
        return None if _says_nothing(value) else value
    return None if value is None or value is pd.NA or value is pd.NaT or value != value else value


def is_blank(values: pd.Series) -> NDArray[np.bool_]:
    """Whether a cell has no value, bool[k]."""
    blank = values.isna().to_numpy(dtype=bool)
    if _holds_text(values):
        blank = blank | np.array(
            [isinstance(v, str) and _says_nothing(v.strip()) for v in values], dtype=bool
        )
    return blank


def _says_nothing(text: str) -> bool:
    return text == "None" or text.lower() in BLANK


def numbers(values: pd.Series) -> Floats:
    """The numbers of a column, float64[k]; NaN for what is none: text, dates, true and false."""
    if pd.api.types.is_bool_dtype(values) or not (
        _holds_text(values) or pd.api.types.is_numeric_dtype(values)
    ):
        return np.full(len(values), np.nan)
    if _holds_text(values):
        none = (bool, np.bool_, pd.Timestamp, pd.Timedelta)
        values = pd.Series([None if isinstance(value, none) else value for value in values], dtype=object)
    return pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan, copy=True)


def cell_number(value: Any) -> float:
    """One cell as a number; NaN for what is none."""
    return float(numbers(pd.Series([value], dtype=object))[0])


def texts_of(values: pd.Series) -> NDArray[np.object_]:
    """Every cell as text, object[k]: blank ones are ``""``, and 1, 1.0 and ``1`` are the same."""
    found = np.empty(len(values), dtype=object)
    found[:] = [cell_text(value) for value in values]
    return found


def cell_text(value: Any) -> str:
    """One cell as text: ``""`` where it is blank, and 1, 1.0 and ``1`` are the same."""
    value = _value(value)
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return str(int(value)) if float(value).is_integer() else f"{value:.15g}"
    return str(value)


def seeds_of(table: pd.DataFrame, column: str = "seed") -> pd.Series:
    """The seed of every row; one without is a seed of its own, called as its row is (then all are text)."""
    blank = is_blank(table[column]) if column in table else np.ones(len(table), dtype=bool)
    if not blank.any():
        return table[column]
    seeds = texts_of(table[column]) if column in table else np.full(len(table), "", dtype=object)
    return pd.Series([seed or name for seed, name in zip(seeds, row_names(table))], index=table.index)


def row_names(table: pd.DataFrame, run: str = "run") -> list[str]:
    """What a message calls each row: the name of its run if no other has it, else its number, from 1."""
    names = texts_of(table[run]) if run in table else np.full(len(table), "", dtype=object)
    once = ~pd.Series(names).duplicated(keep=False).to_numpy() & (names != "")
    places = map(_place, table.index)
    return [f"run {name}" if own else place for name, own, place in zip(names, once, places, strict=True)]


def _place(index: Any) -> str:
    return f"row {index + 1}" if isinstance(index, int | np.integer) else f"row {index}"


def with_numbers(
    table: pd.DataFrame, columns: Sequence[str], positive: bool = False
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The rows that have a number in each of the columns, and by column those left out for a blank cell.

    The columns hold numbers in what is returned. Raises TableError on a missing column, and on a cell that
    holds something else than a number (``positive``: than a number above 0).
    """
    require_columns(table, *columns)
    left = []
    for name in columns:
        table, lacking = with_values(table, [name])
        left += lacking
        values = checked(table, name, positive, "mend it, blank it, or choose other rows with --where")
        table = table.assign(**{name: values})
    return table, left


def with_sound(table: pd.DataFrame, columns: Iterable[str]) -> pd.DataFrame:
    """The table with numbers in those of the columns that it has, NaN where a cell is blank.

    Raises TableError on a cell that holds something else.
    """
    found = {}
    for name in columns:
        if name in table:
            blank = is_blank(table[name])
            checked(table[~blank], name, False, "mend it, blank it, or choose other rows with --where")
            found[name] = numbers(table[name])
    # Each column that is set stands alone in memory; a copy lays them together, and pandas warns without one.
    return table.assign(**found).copy()


def with_values(table: pd.DataFrame, columns: Collection[str]) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The rows that have a value in each of the columns, and by column those left out."""
    left = []
    for name in columns:
        blank = is_blank(table[name])
        left += LeftOut.of(table, blank, f"without a value of {name}")
        table = table[~blank]
    return table, left


def only_positive(table: pd.DataFrame, columns: Sequence[str]) -> tuple[pd.DataFrame, list[LeftOut]]:
    """The rows that have a positive number in each of the columns, and by column those left out."""
    left = []
    for name in columns:
        values = numbers(table[name])
        wrong = ~(np.isfinite(values) & (values > 0))
        left += LeftOut.of(table, wrong, f"without a positive {name}")
        table = table[~wrong]
    if not len(table):
        raise TableError(f"no row has a positive {' and '.join(columns)}: {'; '.join(map(str, left))}")
    return table, left


def checked(table: pd.DataFrame, name: str, positive: bool, remedy: str) -> Floats:
    """A column as finite numbers, float64[k]; raises TableError with the first row that has none."""
    values = numbers(table[name])
    wrong = np.flatnonzero(~(np.isfinite(values) & (values > 0) if positive else np.isfinite(values)))
    if not len(wrong):
        return values
    place = int(wrong[0])
    value = table[name].iloc[place]
    blank = bool(is_blank(table[name].iloc[place : place + 1])[0])
    shown = "nan" if blank else repr(value) if isinstance(value, str) else str(value)
    row, named = _place(table.index[place]), row_names(table)[place]
    run = f" ({named})" if named != row else ""
    more = f" and {len(wrong) - 1} more rows" if len(wrong) > 1 else ""
    kind = "a positive number" if positive else "a number"
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(,\d+)+(\.\d+)?", value.strip()):
        kind += " (write a decimal point, and no comma)"
    raise TableError(f"{row}{run}: {name} = {shown} is not {kind}{more}; {remedy}")


def distinct(values: pd.Series) -> list[str]:
    """Distinct values as text, blank ones left out, in order of number and then of text."""
    known = values[~is_blank(values)]
    pairs = dict(zip(texts_of(known), numbers(known)))
    return sorted(pairs, key=lambda text: (np.isnan(pairs[text]), np.nan_to_num(pairs[text]), text))

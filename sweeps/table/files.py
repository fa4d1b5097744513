"""Tables in files: CSV, TSV, JSON lines and Parquet, the text ones also as gzip.

A text table whose first line lacks the separator that its name promises is read with the one it has: programs
in many languages write "CSV" with semicolons.
"""

from __future__ import annotations

import gzip
import json
import os
import warnings
import zlib
from io import StringIO
from pathlib import Path
from typing import IO, Any

import pandas as pd

from retrieval.errors import first_line
from retrieval.run.files import write_text
from sweeps.diagnostics import TableError
from sweeps.table.cells import clean

_PARQUET = (".parquet", ".pq")
_SEPARATORS = {".csv": ",", ".txt": ",", ".tsv": "\t"}
_OTHERS = (";", "\t", ",", "|")
_LINES = (".jsonl", ".ndjson")
_KNOWN = "use .csv, .tsv, .jsonl (each also .gz) or .parquet"


def read_table(path: Path) -> pd.DataFrame:
    """Read a file, cleaned; raises TableError when it cannot be read, is malformed or has no rows."""
    try:
        frame = _read(path)
    except FileNotFoundError:
        raise TableError(f"{path}: no such file") from None
    except TableError:
        raise
    except UnicodeDecodeError as error:
        raise TableError(f"{path}: is not encoded in UTF-8 ({first_line(error)}); save it as UTF-8") from None
    except pd.errors.ParserWarning:
        raise TableError(
            f"{path}: rows have more cells than the first line has names; name the columns in the first line"
        ) from None
    # What a truncated or damaged gzip file raises is neither OSError nor ValueError.
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise TableError(f"{path}: cannot be read as a table: {first_line(error)}") from None
    if frame.empty:
        raise TableError(f"{path}: the table has no rows")
    try:
        return clean(frame)
    except TableError as error:
        raise TableError(f"{path}: {error}") from None


def _read(path: Path) -> pd.DataFrame:
    packed = path.suffix.lower() == ".gz"
    suffix = Path(path.stem if packed else path.name).suffix.lower()
    if suffix in _PARQUET and not packed:
        return pd.read_parquet(path)
    if suffix not in (*_SEPARATORS, *_LINES):
        raise TableError(f"{path}: unknown kind of table {path.suffix!r}; {_KNOWN}")
    with gzip.open(path, "rt", encoding="utf-8-sig") if packed else path.open(encoding="utf-8-sig") as file:
        if suffix in _LINES:
            return pd.DataFrame(_objects(file, path))
        with warnings.catch_warnings():
            # With fields beyond the header pandas would take the first column for the names of the rows.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            return _separated(file, _SEPARATORS[suffix], path)


def _separated(file: IO[str], separator: str, path: Path) -> pd.DataFrame:
    text = file.read()
    header = text.partition("\n")[0]
    if separator not in header:
        separator = next((other for other in _OTHERS if other in header), separator)
    options: dict[str, Any] = {"sep": separator, "index_col": False, "skipinitialspace": True}
    # It would tell columns of one name apart by numbers of its own.
    names = pd.read_csv(StringIO(text), header=None, nrows=1, dtype=str, **options).iloc[0].dropna()
    twice = names[names.str.strip().duplicated()]
    if len(twice):
        raise TableError(
            f"{path}: column {twice.iloc[0].strip()!r} stands in the table twice; rename or remove one"
        )
    frame: pd.DataFrame = pd.read_csv(StringIO(text), **options)
    return frame


def _objects(file: IO[str], path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise TableError(f"{path}:{number}: not valid JSON ({first_line(error)})") from None
        if not isinstance(row, dict):
            raise TableError(f"{path}:{number}: not an object; write one object a line, its keys the columns")
        rows.append({key: cell(key, value) for key, value in row.items()})
    return rows


def cell(key: str, value: Any) -> Any:
    """A value that fits one cell: warnings as their codes, other lists and objects as JSON."""
    if key == "warnings" and isinstance(value, list):
        return " ".join(sorted({str(item.get("code")) for item in value if isinstance(item, dict)}))
    if isinstance(value, list | dict):
        return json.dumps(value, sort_keys=True)
    return value


def write_table(frame: pd.DataFrame, path: Path) -> None:
    """Write CSV or Parquet by suffix, atomically and at full precision; TableError on other suffixes."""
    suffix = path.suffix.lower()
    path.parent.mkdir(parents=True, exist_ok=True)
    if suffix == ".csv":
        write_text(path, frame.to_csv(index=False))
    elif suffix in _PARQUET:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        _uniform(frame).to_parquet(temporary, index=False)
        temporary.replace(path)
    else:
        raise TableError(f"{path}: unknown kind of table {path.suffix!r}; use .csv or .parquet")


def _uniform(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed types as text: Parquet has one type a column."""
    mixed = [
        name
        for name in frame.columns
        if frame[name].dtype == object and frame[name].dropna().map(type).nunique() > 1
    ]
    return frame.astype(dict.fromkeys(mixed, "string"))

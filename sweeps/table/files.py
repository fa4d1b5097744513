"""Tables in files: CSV, TSV, JSON lines and Parquet, the text ones also as gzip."""

from __future__ import annotations

import gzip
import json
import os
import warnings
import zlib
from pathlib import Path
from typing import IO, Any

import pandas as pd

from retrieval.errors import first_line
from retrieval.run.files import write_text
from sweeps.diagnostics import TableError
from sweeps.table.cells import clean

_PARQUET = (".parquet", ".pq")
_SEPARATORS = {".csv": ",", ".txt": ",", ".tsv": "\t"}
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
    # What a truncated or damaged gzip file raises is neither OSError nor ValueError.
    except (ValueError, OSError, EOFError, zlib.error, pd.errors.ParserWarning) as error:
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
            return pd.read_csv(file, sep=_SEPARATORS[suffix], index_col=False, skipinitialspace=True)


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

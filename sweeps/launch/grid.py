"""The cells that a command line asks for: all combinations, or the rows of a file crossed with them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from retrieval.errors import ConfigError

Row = dict[str, str]
"""Key of an override -> its value as written."""


def jobs(params: Sequence[Override], given: Sequence[Override], cells: str | None) -> list[list[str]]:
    """The overrides of every cell; ``params``: of an experiment file; ``given``: of the command line.

    Raises:
        ConfigError: the file is not right, or contradicts the command line.
        HydraException: see :func:`expand`.
    """
    rows: list[Row] = [{}] if cells is None else read_cells(cells)
    return expand(without_columns([*params, *given], rows, given, str(cells)), rows)


def expand(overrides: Sequence[Override], rows: Sequence[Row] = ({},)) -> list[list[str]]:
    """The overrides of every cell: each of ``rows`` with each combination of what ``overrides`` sweep.

    Rows change slowest. A later override of a key replaces an earlier one.

    Raises:
        HydraException: an override cannot be swept through, such as ``interval(0,1)``.
    """
    combinations = BasicSweeper.split_arguments(list(overrides), None)[0]
    return [[*others, *(f"{k}={v}" for k, v in row.items())] for row in rows for others in combinations]


def without_columns(
    overrides: Sequence[Override], rows: Sequence[Row], given: Sequence[Override], path: str
) -> list[Override]:
    """``overrides`` but those that a column of the file takes the place of.

    Raises:
        ConfigError: a key is both a column of the file ``path`` and ``given`` on the command line.
    """
    columns = {column.lstrip("+~") for row in rows for column in row}
    for override in given:
        if override.key_or_group in columns:
            raise ConfigError(
                f"{override.key_or_group} is a column of sweep.cells={path} and on the command line; "
                "remove one of them"
            )
    return [override for override in overrides if override.key_or_group not in columns]


def read_cells(path: str) -> list[Row]:
    """The rows of a CSV file whose columns are override keys; an empty field leaves its key alone.

    Raises:
        ConfigError: names file, line and reason.
    """
    parser = OverridesParser.create()
    rows: list[Row] = []
    known: set[str] = set()
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle)
            header = [name.strip() for name in next(reader, [])]
            _check_header(path, header)
            for fields in reader:
                if fields:
                    rows.append(_row(f"{path}:{reader.line_num}", header, fields, parser, known))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"sweep.cells={path}: cannot read this file as CSV ({error})") from error
    if not rows:
        raise ConfigError(f"sweep.cells={path} has no row below its header; every row is a cell")
    return rows


def _check_header(path: str, header: Sequence[str]) -> None:
    if not header or not all(header):
        raise ConfigError(
            f"{path}:1: the first line must name a key in every column, such as model,data.frac"
        )
    for name in header:
        if header.count(name) > 1:
            raise ConfigError(f"{path}:1: the column {name} stands there twice")


def _row(
    place: str, header: Sequence[str], fields: Sequence[str], parser: OverridesParser, known: set[str]
) -> Row:
    if len(fields) != len(header):
        raise ConfigError(f"{place}: {len(fields)} fields under {len(header)} columns")
    row = {name: value.strip() for name, value in zip(header, fields, strict=True) if value.strip()}
    for name, value in row.items():
        text = f"{name}={value}"
        if text in known:
            continue
        try:
            override = parser.parse_override(text)
        except HydraException:
            raise ConfigError(f"{place}: cannot read {text}; write values as on the command line") from None
        if override.is_sweep_override():
            raise ConfigError(f"{place}: {text} is more than one value; a row is one cell, lists are [a,b]")
        known.add(text)
    return row

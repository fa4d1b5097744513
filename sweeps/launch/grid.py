"""The cells that a command line asks for: all combinations, or a file's rows, that ``sweep.where`` keeps."""

import ast
import csv
import difflib
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from retrieval.errors import ConfigError

Row = dict[str, str]
"""Key of an override -> its value as written."""


def jobs(params: Sequence[Override], given: Sequence[Override], cells: str | None) -> list[list[str]]:
    """The overrides of every cell; ``params``: of an experiment file; ``given``: of the command line.

    Raises ConfigError: the file is not right, or contradicts the command line; HydraException: see
    :func:`expand`.
    """
    rows: list[Row] = [{}] if cells is None else read_cells(cells)
    return expand(without_columns([*params, *given], rows, given, str(cells)), rows)


def expand(overrides: Sequence[Override], rows: Sequence[Row] = ({},)) -> list[list[str]]:
    """The overrides of every cell: each of ``rows`` with each combination of what ``overrides`` sweep.

    Rows change slowest. A later override of a key replaces an earlier one.

    Raises HydraException: an override cannot be swept through, such as ``interval(0,1)``.
    """
    combinations = BasicSweeper.split_arguments(list(overrides), None)[0]
    return [[*others, *(f"{k}={v}" for k, v in row.items())] for row in rows for others in combinations]


def without_columns(
    overrides: Sequence[Override], rows: Sequence[Row], given: Sequence[Override], path: str
) -> list[Override]:
    """``overrides`` but those that a column of the file takes the place of.

    Raises ConfigError: a key is both a column of the file ``path`` and ``given`` on the command line.
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

    Raises ConfigError: names file, line and reason.
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


Facts = Mapping[str, Any]
"""Name of a fact -> number, text, truth value or None."""

LONGEST = 2000
"""Characters of an expression."""

ARITHMETIC: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
ORDER: dict[type, Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
MARK = "ƒ"
"""Begins the identifiers that stand for facts in the tree."""

WORDS = {"true": True, "false": False, "null": None, "none": None}


# No package reads such a condition as safely. ``pandas.DataFrame.query`` and numexpr hand text to Python's
# ``eval``; simpleeval (before 1.0.5, CVE-2026-32640) and asteval (GHSA-vp47-9734-prjw) let expressions
# escape, because both resolve attributes and call functions. What is not listed here is refused.
class Where:
    """A condition such as ``size/params_total < 2e8 and strategy in ('standard', 'pareto')``.

    Allowed: facts by name, numbers, quoted text, ``+ - * / % **``, comparisons, ``in``, ``and or not``,
    parentheses. A comparison of size with a fact that has no value is false.
    """

    def __init__(self, expression: str) -> None:
        """Raises ConfigError when the expression cannot be read."""
        self.expression = expression
        self._names: list[str] = []
        self._trees: dict[frozenset[str], ast.expr] = {}

    def __call__(self, facts: Facts) -> bool:
        """Whether the expression holds for a cell.

        Raises ConfigError: it names no such fact, or compares text with numbers.
        """
        names = frozenset(facts)
        if names not in self._trees:
            self._trees[names] = self._parse(facts)
        try:
            return bool(self._value(self._trees[names], facts))
        except (TypeError, ZeroDivisionError, OverflowError, RecursionError) as error:
            raise self._error(str(error)) from error

    def _parse(self, facts: Facts) -> ast.expr:
        if len(self.expression) > LONGEST or MARK in self.expression:
            raise self._error(f"longer than {LONGEST} characters, or with the letter {MARK}")
        # Names of facts hold slashes and dots: each becomes one identifier before Python's grammar sees it.
        self._names = sorted(facts, key=lambda name: (-len(name), name))
        known = "|".join(map(re.escape, self._names))
        pattern = rf"""('[^']*'|"[^"]*")|(?<![\w.])(?:{known})(?!\w|\.[A-Za-z_])"""
        numbers = {name: f"{MARK}{place}" for place, name in enumerate(self._names)}
        text = re.sub(pattern, lambda match: match[1] or numbers[match[0]], self.expression)
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise self._error(f"not an expression ({getattr(error, 'msg', error)})") from None
        for node in ast.walk(tree):
            if isinstance(node, ast.Name | ast.Attribute):
                self._check_name(ast.unparse(node))
        return tree

    def _check_name(self, name: str) -> None:
        if name in WORDS or re.fullmatch(rf"{MARK}\d+", name):
            return
        close = difflib.get_close_matches(name, self._names, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        some = ", ".join(name for name in sorted(self._names) if "/" in name or "." not in name)
        raise self._error(
            f"{name} is no fact of a cell{hint}; there are {some} and every key such as data.frac"
        )

    def _value(self, node: ast.expr, facts: Facts) -> Any:
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as value):
                return value
            case ast.Name(id=name):
                return WORDS[name] if name in WORDS else facts[self._names[int(name[len(MARK) :])]]
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(item, facts) for item in items]
            case ast.BoolOp(op=ast.And(), values=values):
                return all(self._value(value, facts) for value in values)
            case ast.BoolOp(op=ast.Or(), values=values):
                return any(self._value(value, facts) for value in values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._value(operand, facts)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -_number(self._value(operand, facts))
            case ast.BinOp(left=left, op=kind, right=right) if type(kind) in ARITHMETIC:
                a, b = (_number(self._value(side, facts)) for side in (left, right))
                return ARITHMETIC[type(kind)](a, b)
            case ast.Compare(left=left, ops=kinds, comparators=others):
                values = [self._value(item, facts) for item in (left, *others)]
                return all(map(_compare, kinds, values, values[1:]))
        raise self._error(f"{ast.unparse(node)} is not allowed")

    def _error(self, reason: str) -> ConfigError:
        return ConfigError(f"sweep.where={self.expression}: {reason}")


def _number(value: Any) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise TypeError(f"{value!r} is no number")


def _compare(kind: ast.cmpop, a: Any, b: Any) -> bool:
    match kind:
        case ast.Eq():
            return bool(a == b)
        case ast.NotEq():
            return bool(a != b)
        case ast.In():
            return a in b
        case ast.NotIn():
            return a not in b
    if type(kind) not in ORDER:
        raise TypeError("`is` is not allowed; write ==")
    if a is None or b is None:
        return False
    if isinstance(a, str) != isinstance(b, str):
        raise TypeError(f"{a!r} and {b!r} cannot be compared")
    return ORDER[type(kind)](a, b)

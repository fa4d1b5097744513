"""``sweep.where``: an expression over the facts of a cell, read as a tree of allowed operations.

No package does this as safely. ``pandas.DataFrame.query`` and numexpr hand text to Python's ``eval``.
simpleeval (before 1.0.5, CVE-2026-32640) and asteval (GHSA-vp47-9734-prjw) let expressions escape, because
both resolve attributes and call functions. Neither exists here: what is not listed below is refused. Names
with slashes, facts without a value and hints on mistyped names would have to be written around any of them.
"""

from __future__ import annotations

import ast
import difflib
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

from retrieval.errors import ConfigError

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

        Raises:
            ConfigError: it names no such fact, or compares text with numbers.
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

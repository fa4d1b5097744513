"""Records of the analysis: dataclasses that are written as JSON and read back.

The fields of a record are the keys of its file, in their order. A mapping or a record in a field with
:data:`SPREAD` stands among the keys of the record itself; a field with :data:`OPTIONAL` is written only where
there is a value. JSON has no NaN: where a number must be, ``null`` is read as NaN.
"""

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, Union, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd

from retrieval.errors import DataError, first_line
from retrieval.run.files import plain

SPREAD = {"spread": True}
"""Of a field whose own keys stand in the record; a mapping holds those that no other field claims."""

OPTIONAL = {"optional": True}
"""Of a field that is left out of the file where it is ``None``."""


class _BrokenError(Exception):
    """What is missing or wrong in a record, and where."""


@dataclass(frozen=True)
class Record:
    """Something that is written as a JSON object."""

    command: ClassVar[str] = ""
    """The command of ``python -m sweeps`` that writes such a file."""

    def to_json(self) -> dict[str, Any]:
        """The record in JSON's types, numbers at full precision, what is not finite as null."""
        found: dict[str, Any] = {}
        for own in fields(self):
            value = getattr(self, own.name)
            if own.metadata.get("spread"):
                found |= _encode(value)
            elif value is not None or not own.metadata.get("optional"):
                found[own.name] = _encode(value)
        return found

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The record that :meth:`to_json` wrote; raises DataError, one line, on anything else."""
        try:
            return cls.decode(data, "")
        except _BrokenError as error:
            raise DataError(f"not a record of `python -m sweeps {cls.command}`: {error}") from None

    @classmethod
    def decode(cls, data: Any, where: str) -> Self:
        """:meth:`from_json` of what stands at ``where`` in a larger record."""
        if not isinstance(data, dict):
            raise _BrokenError(f"{where or 'the whole'} is {_kind(data)}, not an object")
        kinds = get_type_hints(cls)
        claimed = {own.name for own in fields(cls)}
        rest = {key: value for key, value in data.items() if key not in claimed}
        found = {}
        for own in fields(cls):
            kind = kinds[own.name]
            place = f"{where}.{own.name}" if where else own.name
            if own.metadata.get("spread"):
                found[own.name] = _decode(kind, rest, where)
            elif own.name in data:
                found[own.name] = _decode(kind, data[own.name], place)
            elif not own.metadata.get("optional"):
                raise _BrokenError(f"{place} is missing")
        return cls(**found)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a file; raises DataError, one line that names it and the command that writes a right one."""
        make = f"write one with `python -m sweeps {cls.command} --out {path}`"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(f"{path}: no such file; {make}") from None
        except (OSError, ValueError, RecursionError) as error:
            raise DataError(f"{path}: cannot be read as JSON ({first_line(error)}); {make}") from None
        try:
            return cls.from_json(data)
        except DataError as error:
            raise DataError(f"{path}: {error}; {make}") from None


def _encode(value: Any) -> Any:
    if hasattr(value, "to_json") and not isinstance(value, pd.DataFrame):
        return value.to_json()
    if isinstance(value, pd.DataFrame):
        value = value.to_dict(orient="list")
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_encode(item) for item in value]
    return plain(value)


def _decode(kind: Any, value: Any, where: str) -> Any:
    if kind is Any:
        return value
    origin, inner = get_origin(kind) or kind, get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, where)
    if origin is Literal:
        return _checked(value in inner, value, where, " or ".join(map(str, inner)))
    if isinstance(origin, type) and issubclass(origin, Record):
        return origin.decode(value, where)
    if hasattr(origin, "from_json"):
        return _built(origin.from_json, value, where)
    if origin is np.ndarray:
        return _built(lambda rows: np.array(rows, dtype=np.float64), value, where)
    if origin is pd.DataFrame:
        return _built(pd.DataFrame, value, where)
    if origin is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return float("nan") if value is None else _checked(number, value, where, "a number")
    if origin is dict:
        _checked(isinstance(value, dict), value, where, "an object")
        return {key: _decode(inner[1], item, f"{where}.{key}") for key, item in value.items()}
    if origin in (list, tuple):
        return _sequence(origin, inner, value, where)
    right = isinstance(value, origin) and (origin is bool or not isinstance(value, bool))
    return _checked(right, value, where, _NAMES.get(origin, str(origin)))


_NAMES = {str: "text", int: "a whole number", bool: "true or false", type(None): "null"}


def _one_of(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in kinds:
        return None
    reasons = []
    for kind in kinds:
        if kind is not type(None):
            try:
                return _decode(kind, value, where)
            except _BrokenError as error:
                reasons.append(error)
    raise reasons[0]


def _sequence(origin: type, inner: tuple[Any, ...], value: Any, where: str) -> Any:
    _checked(isinstance(value, list), value, where, "a list")
    kinds = [inner[0]] * len(value) if origin is list or inner[1:] == (...,) else list(inner)
    _checked(len(kinds) == len(value), value, where, f"a list of {len(kinds)}")
    return origin(_decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value)))


def _built(build: Callable[[Any], Any], value: Any, where: str) -> Any:
    try:
        return build(value)
    except (KeyError, TypeError, ValueError) as error:
        raise _BrokenError(f"{where}: {first_line(error)}") from None


def _checked(right: bool, value: Any, where: str, wanted: str) -> Any:
    if not right:
        raise _BrokenError(f"{where} is {_kind(value)}, not {wanted}")
    return value


def _kind(value: Any) -> str:
    return f"{value!r}" if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"

"""Fields of the schema: :func:`knob` states a field's default, help and valid values in one place.

Closed sets of values are tuples of strings, not ``enum.Enum``: Hydra spells a member by its Python name, and
``cool-down`` or ``32`` is none. Open sets are a function that asks a registry.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from functools import cache
from typing import Any, cast, get_type_hints

from retrieval.errors import ConfigError

Choices = tuple[str, ...] | Callable[[], tuple[str, ...]]


@dataclass(frozen=True)
class Knob:
    """Help and valid values of a field; bounds apply to numbers."""

    help: str
    choices: Choices = ()
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    optional: bool = False
    """Whether ``null`` is valid."""
    content: bool = False
    """Whether the value may be a local file or folder, whose content is then what identifies a run."""
    families: tuple[str, ...] = ()
    """Values of ``model.family`` that read the key; empty: all do."""

    @property
    def names(self) -> tuple[str, ...]:
        """The valid values where they are a set."""
        return self.choices() if callable(self.choices) else self.choices

    @property
    def valid(self) -> str:
        """The valid values in words; empty where the type says all."""
        if self.names:
            return ", ".join(self.names)
        low = "" if self.minimum is None else f"{self.minimum:g}"
        if self.above is not None:
            low = f"above {self.above:g}"
        if self.maximum is None and self.below is None:
            text = f"{low} or more" if self.minimum is not None else low
        else:
            bounded = f"below {self.below:g}" if self.below is not None else f"{self.maximum}"
            text = f"from {low} to {bounded}" if self.minimum is not None else f"{low}, at most {bounded}"
        return f"{text}, or null" if text and self.optional else text

    def accepts(self, value: Any) -> bool:
        """Whether ``value`` is valid; of a list, whether each of its items is."""
        if value is None:
            return self.optional
        if self.names and _is_list(value):
            return all(str(item) in self.names for item in value)
        if self.names:
            return str(value) in self.names
        return not any(
            (
                self.minimum is not None and not value >= self.minimum,
                self.maximum is not None and not value <= self.maximum,
                self.above is not None and not value > self.above,
                self.below is not None and not value < self.below,
            )
        )

    def check(self, key: str, value: Any) -> None:
        """Refuse a value that is not valid; of a list, name the first item that is not.

        Raises:
            ConfigError: the key, the value and the valid ones.
        """
        if not self.accepts(value):
            if self.names and _is_list(value):
                value = next(item for item in value if str(item) not in self.names)
            reason = "is not known; valid:" if self.names else "is out of range; it must be"
            raise ConfigError(f"{key}={value} {reason} {self.valid or 'given'}")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def knob(default: Any, help: str, **more: Any) -> Any:
    """A field of a schema's dataclass.

    ``default``: lists and mappings are copied for each object; ``help``: as ``--help`` prints it; ``more``:
    fields of :class:`Knob`, ``choices`` or ``minimum``, ``maximum``, ``above`` and ``below`` of a number.
    """
    metadata = {"knob": Knob(help, **more)}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Setting:
    """A key of the configuration."""

    key: str
    """Dotted path."""
    default: Any
    knob: Knob


def settings(schema: type, prefix: str = "") -> Iterator[Setting]:
    """All keys of a schema with the keys of its groups, in the order of their declaration."""
    nested = groups(schema)
    for item in fields(schema):
        key = f"{prefix}{item.name}"
        if item.name in nested:
            yield from settings(nested[item.name], f"{key}.")
        else:
            default = item.default if item.default_factory is MISSING else item.default_factory()
            yield Setting(key, default, _knob(schema, item))


def choices(schema: type, key: str) -> tuple[str, ...]:
    """Valid values of a key that is chosen from a set."""
    return next(setting.knob.names for setting in settings(schema) if setting.key == key)


@cache
def groups(schema: type) -> dict[str, type]:
    """Fields of a schema that are schemas themselves."""
    hints = get_type_hints(schema)
    return {item.name: hints[item.name] for item in fields(schema) if is_dataclass(hints[item.name])}


def _knob(schema: type, item: Field[Any]) -> Knob:
    # A subclass that states another default keeps the rest.
    declared = (base.__dict__.get("__dataclass_fields__", {}).get(item.name) for base in schema.__mro__)
    found = next((each.metadata["knob"] for each in declared if each and "knob" in each.metadata), None)
    if found is None:
        raise TypeError(f"{schema.__name__}.{item.name} has no help; declare it with knob(default, help)")
    return replace(cast(Knob, found), optional="None" in str(item.type))

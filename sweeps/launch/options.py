"""Options of a launcher, checked by the fields of the class that holds them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar, get_type_hints

from retrieval.config.unknown import suggestion
from retrieval.errors import ConfigError

T = TypeVar("T")

HOOKS = frozenset(("open", "worker", "prepare", "probe", "gpu_probe", "preload", "environment"))
"""Fields that are no keys of a configuration: what programs set."""


def split(given: Mapping[str, Any], *kinds: Callable[..., Any]) -> list[dict[str, Any]]:
    """The options of each class, by the names of its fields.

    Raises:
        ConfigError: No class has an option of a name, or a number is out of range.
    """
    types = [get_type_hints(kind) for kind in kinds]
    names = [{field.name for field in fields(kind)} for kind in kinds]  # type: ignore[arg-type]
    known = set[str]().union(*names)
    for name, value in given.items():
        if name not in known:
            raise ConfigError(_unknown(name, known))
        _check(name, value, next(hints[name] for hints in types if name in hints))
    return [{name: value for name, value in given.items() if name in own} for own in names]


def _unknown(name: str, known: Iterable[str]) -> str:
    valid = sorted(set(known) - HOOKS)
    listed = ", ".join(f"hydra.launcher.{each}" for each in valid)
    return f"no key hydra.launcher.{name}{suggestion(name, valid)}; valid: {listed}"


def _check(name: str, value: Any, kind: Any) -> None:
    """Refuse what is no count where one is asked for."""
    if kind not in (int, int | None) or (value is None and kind == int | None):
        return
    least = 0 if name == "requeues" else 1
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        null = " or null" if kind == int | None else ""
        raise ConfigError(
            f"hydra.launcher.{name}={value} is out of range; give a whole number from {least}{null}"
        )

"""Strategies and rules of ω by name: each is a file that registers itself, here or in another distribution.

The files of a registry's package are found by looking; modules of other distributions are those of the entry
point group ``paretrieve.plugins``. Finding them imports no PyTorch, so that ``--help`` and a configuration
error answer at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Any

from retrieval.errors import ConfigError

ENTRY_POINTS = "paretrieve.plugins"


class Registry(Mapping[str, type[Any]]):
    """Classes by the value of ``key``; reading it first imports the files of ``package`` and the plug-ins."""

    def __init__(self, key: str, package: str) -> None:
        self.key, self.package = key, package
        self._classes: dict[str, type[Any]] = {}

    def add(self, kind: type[Any]) -> None:
        """Register a class under its ``name``.

        Raises:
            ConfigError: another class has this name.
        """
        known = self._classes.setdefault(kind.name, kind)
        if (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__):
            raise ConfigError(
                f"{self.key}={kind.name} is both in {known.__module__} and in {kind.__module__}; rename one"
            )

    def __getitem__(self, name: str) -> type[Any]:
        discover()
        if name not in self._classes:
            raise ConfigError(f"{self.key}={name} is not known; valid: {', '.join(self)}")
        return self._classes[name]

    def __contains__(self, name: object) -> bool:
        discover()
        return name in self._classes

    def __iter__(self) -> Iterator[str]:
        discover()
        return iter(sorted(self._classes))

    def __len__(self) -> int:
        discover()
        return len(self._classes)


STRATEGIES = Registry("strategy.name", "retrieval.training.strategies")
RULES = Registry("strategy.rule", "retrieval.training.omega.rules")


@cache
def discover() -> None:
    """Import every strategy and every rule, which registers them.

    Raises:
        ConfigError: a plug-in of another distribution cannot be imported.
    """
    for registry in (STRATEGIES, RULES):
        for found in iter_modules(import_module(registry.package).__path__):
            import_module(f"{registry.package}.{found.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:  # whatever the code of others raises
            raise ConfigError(
                f"plug-in {entry.name} = {entry.value} cannot be loaded ({type(error).__name__}: {error}); "
                "repair or uninstall it"
            ) from error


def registered() -> dict[str, tuple[str, ...]]:
    """Valid values of the keys that name a strategy or a rule."""
    return {
        "strategy.name": tuple(STRATEGIES),
        "strategy.base": tuple(name for name, kind in STRATEGIES.items() if kind.is_base),
        "strategy.rule": ("auto", *RULES),
    }

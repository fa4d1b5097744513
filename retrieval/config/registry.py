"""Registries: parts that are found by name, each in a file of its own that registers it."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points
from typing import Any, ClassVar, Generic, TypeVar

from retrieval.errors import ConfigError

Part = TypeVar("Part")

ENTRY_POINTS = "paretrieve.plugins"
"""Entry point group of the modules by which other distributions add parts to any registry."""


class Registry(Mapping[str, Part], Generic[Part]):
    """The parts that a key chooses among, by name; looked for when first asked for."""

    def __init__(self, key: str, package: str) -> None:
        """``key``: key of the configuration that holds a name; ``package``: whose modules register the parts.

        The configuration imports nothing of what is built on it, so it knows the package by name alone.
        """
        self._key, self._package = key, package
        self._parts: dict[str, Part] = {}
        self._loaded = False

    def register(self, name: str, part: Part) -> None:
        """Add a part; called by its module.

        Raises:
            ValueError: another part has the name.
        """
        if self._parts.setdefault(name, part) is not part:
            raise ValueError(f"two parts register {self._key}={name}")
        self._parts = dict(sorted(self._parts.items()))

    def names(self) -> tuple[str, ...]:
        """The valid values of the key."""
        return tuple(self._found)

    def __getitem__(self, name: str) -> Part:
        if name not in self._found:
            raise ConfigError(f"{self._key}={name} is not known; valid: {', '.join(self._found)}")
        return self._found[name]

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    @property
    def _found(self) -> dict[str, Part]:
        if not self._loaded:
            for module in pkgutil.iter_modules(importlib.import_module(self._package).__path__):
                importlib.import_module(f"{self._package}.{module.name}")
            _load_plugins()
            self._loaded = True
        return self._parts


class Registered:
    """A base class whose subclasses register themselves by their ``name``, where they state one.

    The base names its registry: ``class Attack(Registered, ABC, registry=ATTACKS)``.
    """

    _registry: ClassVar[Registry[Any]]

    def __init_subclass__(cls, registry: Registry[Any] | None = None, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if registry is not None:
            cls._registry = registry
        elif "name" in cls.__dict__:
            cls._registry.register(cls.__dict__["name"], cls)


@cache
def _load_plugins() -> None:
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:  # whatever the code of others raises
            raise ConfigError(
                f"plug-in {entry.name} = {entry.value} cannot be loaded ({type(error).__name__}: {error}); "
                "repair or uninstall it"
            ) from error

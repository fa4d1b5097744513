"""Where collections come from. Each source is a module with ``fingerprint`` and ``prepare``.

A source turns a data configuration into a :class:`Suite` of BEIR folders. The modules of sources
are imported on first use, so that this package stays light.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Protocol, cast

from retrieval.config.data import DataConfig
from retrieval.errors import ConfigError

SOURCES: dict[str, str] = {
    "beir": "retrieval.data.sources.beir",
    "hub": "retrieval.data.sources.hub",
    "local": "retrieval.data.sources.local",
    "pydocs": "retrieval.data.sources.pydocs",
    "synthetic": "retrieval.data.sources.synthetic",
}


@dataclass(frozen=True)
class Suite:
    """BEIR folders by role. The names in ``robust``, ``robust_dev`` and ``ood`` are distinct."""

    name: str
    in_domain: Path
    """Has a train and a test split, and mostly a dev split."""
    robust: dict[str, Path]
    """Robust-training domain -> folder with a train split."""
    robust_dev: dict[str, Path]
    """Robust-dev domain -> folder with a dev split, or with a test split alone."""
    ood: dict[str, Path]
    """OOD test domain -> folder with a test split."""
    fingerprint: str


class Source(Protocol):
    """What the module of a source offers."""

    def fingerprint(self, config: DataConfig, cache: Path | None = None) -> str:
        """Identity of the content; see :func:`fingerprint`."""

    def prepare(self, config: DataConfig, cache: Path) -> Suite:
        """Build what is missing; see :func:`prepare`."""


def source(name: str) -> Source:
    """The module of a source.

    Raises:
        ConfigError: there is no source of this name.
    """
    if name not in SOURCES:
        raise ConfigError(f"data.name={name!r} is unknown; choose one of {', '.join(sorted(SOURCES))}")
    return cast(Source, importlib.import_module(SOURCES[name]))


def fingerprint(config: DataConfig, cache: Path | None = None) -> str:
    """Hash (64 hexadecimal digits) that changes when the content of the suite would; builds nothing.

    Args:
        config: data configuration; keys that do not change the content have no effect.
        cache: where hashes of large files are remembered; without it files are hashed each time.

    Raises:
        ConfigError: the configuration names something that is not there.
    """
    return source(config.name).fingerprint(config, cache)


def prepare(config: DataConfig, cache: Path) -> Suite:
    """Return the suite; folders that a source makes are built once under ``cache/sources/``.

    Raises:
        ConfigError: the configuration names something that is not there.
        DataError: a collection is malformed.
    """
    return source(config.name).prepare(config, cache)


def check_roles(roles: Mapping[str, Sequence[str]]) -> None:
    """Refuse a domain that has two roles, or a role twice.

    Args:
        roles: key of ``data`` (``robust``, ``robust_dev``, ``ood``) -> names of its domains.

    Raises:
        ConfigError: the domain is named, with the fix.
    """
    for key, names in roles.items():
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"data.{key} names the domain {name!r} twice; each domain has its own name")
    for first, second in combinations(roles, 2):
        for name in roles[first]:
            if name in roles[second]:
                raise ConfigError(
                    f"the domain {name!r} is in data.{first} and in data.{second}; a domain has one role "
                    "(trained on, steered by, or tested on), so remove it from one of them"
                )


def check_known(key: str, names: list[str], valid: list[str]) -> None:
    """Refuse a domain name that the source does not have.

    Raises:
        ConfigError: the name, and the valid ones.
    """
    for name in names:
        if name not in valid:
            raise ConfigError(f"{key} names the unknown domain {name!r}; choose from {', '.join(valid)}")

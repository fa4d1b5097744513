"""Where collections come from: each source is a module that registers a ``Source``.

A source turns a data configuration into a :class:`Suite` of BEIR folders. The modules of sources are imported
at every start, since they hold the keys of ``data``; so they import what is heavy on first use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import cast

from retrieval.config.data import SOURCES, DataConfig
from retrieval.errors import ConfigError


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


def fingerprint(config: DataConfig, cache: Path | None = None) -> str:
    """Hash (64 hexadecimal digits) that changes when the content of the suite would; builds nothing.

    ``cache``: where hashes of large files are remembered; without it files are hashed each time.

    Raises:
        ConfigError: the configuration names something that is not there.
    """
    return SOURCES[config.name].fingerprint(config, cache)


def prepare(config: DataConfig, cache: Path) -> Suite:
    """The suite; folders that a source makes are built once under ``cache/sources/``.

    Raises:
        ConfigError: the configuration names something that is not there.
        DataError: a collection is malformed.
    """
    return cast(Suite, SOURCES[config.name].prepare(config, cache))


def check_roles(roles: Mapping[str, Sequence[str]]) -> None:
    """Refuse a domain that has two roles, or a role twice; ``roles``: key of ``data`` -> names of domains.

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

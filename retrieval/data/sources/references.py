"""References to collections: what ``data.robust`` and ``data.ood`` name beside a source's own domains.

``beir/NAME`` is a public set of BEIR, ``hub/NAME`` a dataset of ``data.hub``, anything else a folder in BEIR
format. A source hands its suite to :func:`with_references`, which adds the referenced collections to it.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Protocol, cast

from retrieval.data.cache import digest
from retrieval.data.sources import Suite, check_roles
from retrieval.data_config import DataConfig
from retrieval.errors import ConfigError

KINDS: dict[str, str] = {
    "beir": "retrieval.data.sources.beir",
    "hub": "retrieval.data.sources.hub",
}
"""First part of a reference -> module with ``reference(config, name)``."""


class Reference(Protocol):
    """A collection that a configuration names; nothing is downloaded or built before :meth:`folder`."""

    @property
    def name(self) -> str:
        """How the collection is called in results."""

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that the prepared folder has."""

    def fingerprint(self, cache: Path | None) -> str:
        """Hash that changes when the content would."""

    def folder(self, cache: Path) -> Path:
        """The collection as a BEIR folder, built once."""

    def __str__(self) -> str:
        """What the collection is, in messages."""


def is_reference(name: str) -> bool:
    """Whether a name is a reference, and not a domain of the source itself."""
    return "/" in name or "\\" in name


def own(names: list[str]) -> list[str]:
    """The names that are a source's own domains."""
    return [name for name in names if not is_reference(name)]


def resolve(key: str, text: str, config: DataConfig) -> Reference:
    """The collection that ``key`` (a role) names by ``text``.

    Raises:
        ConfigError: there is no such collection.
    """
    kind, _, name = text.partition("/")
    if kind in KINDS and name:
        return cast(Reference, importlib.import_module(KINDS[kind]).reference(config, name, key))
    local = importlib.import_module("retrieval.data.sources.local")
    return cast(Reference, local.reference(key, text))


def need_split(key: str, collection: Reference, split: str, hint: str) -> None:
    """Refuse a collection without the split that its role needs.

    Raises:
        ConfigError: the collection, its splits and the way out.
    """
    if split not in collection.splits:
        raise ConfigError(
            f"{key}: {collection} has no {split} judgements (splits there: {', '.join(collection.splits)}); "
            f"{hint}"
        )


def in_domain_suite(config: DataConfig, key: str, collection: Reference, cache: Path) -> Suite:
    """The suite of a referenced in-domain collection and of the roles of ``config``, all prepared."""
    found = fingerprint_of(config, key, collection, cache)
    roles = _Roles(config, collection.name, f"{key} {collection}")
    label = config.label or collection.name
    return Suite(
        label, collection.folder(cache), roles.robust_folders(cache), roles.ood_folders(cache), found
    )


def fingerprint_of(config: DataConfig, key: str, collection: Reference, cache: Path | None) -> str:
    """Fingerprint of the same suite; builds nothing."""
    need_split(key, collection, "train", f"it can serve as an OOD test domain: data.ood=[{collection}]")
    need_split(key, collection, "test", "the effectiveness is measured on it")
    roles = _Roles(config, collection.name, f"{key} {collection}")
    # Called after the first source that had it: folders keep the fingerprint they always had.
    return digest(
        {"source": "local", "in_domain": collection.fingerprint(cache), **roles.fingerprints(cache)}
    )


def with_references(suite: Suite, config: DataConfig, cache: Path) -> Suite:
    """The suite of a source with domains of its own, and the referenced collections in their roles."""
    roles = _Roles(config, suite.in_domain.name, suite.name)
    if roles.empty:
        return suite
    robust = {**suite.robust, **roles.robust_folders(cache)}
    ood = {**suite.ood, **roles.ood_folders(cache)}
    check_roles(list(robust), list(ood))
    found = extended_fingerprint(suite.fingerprint, config, cache)
    return replace(suite, robust=robust, ood=ood, fingerprint=found)


def extended_fingerprint(fingerprint: str, config: DataConfig, cache: Path | None) -> str:
    """A source's own fingerprint, with that of the referenced collections where there are some."""
    roles = _Roles(config)
    return fingerprint if roles.empty else digest({"suite": fingerprint, **roles.fingerprints(cache)})


class _Roles:
    """The referenced collections of a configuration by role, checked."""

    def __init__(self, config: DataConfig, in_domain: str = "", description: str = "") -> None:
        everything = config.name in ("local", *KINDS)
        self.robust = self._role("data.robust", list(config.robust), config, everything)
        self.ood = self._role("data.ood", list(config.ood), config, everything)
        check_roles([part.name for part in self.robust], [part.name for part in self.ood])
        for key, parts in (("data.robust", self.robust), ("data.ood", self.ood)):
            for part in parts:
                if part.name == in_domain:
                    raise ConfigError(
                        f"{key} {part} has the name of the in-domain collection ({description}); each "
                        "collection has one role and its own name"
                    )
        for part in self.robust:
            need_split("data.robust", part, "train", f"it can serve as an OOD test domain: data.ood=[{part}]")
        for part in self.ood:
            need_split("data.ood", part, "test", "the robustness is measured on it")

    @staticmethod
    def _role(key: str, names: list[str], config: DataConfig, everything: bool) -> list[Reference]:
        return [resolve(key, name, config) for name in names if everything or is_reference(name)]

    @property
    def empty(self) -> bool:
        return not self.robust and not self.ood

    def fingerprints(self, cache: Path | None) -> dict[str, dict[str, str]]:
        return {
            "robust": {part.name: part.fingerprint(cache) for part in self.robust},
            "ood": {part.name: part.fingerprint(cache) for part in self.ood},
        }

    def robust_folders(self, cache: Path) -> dict[str, Path]:
        return {part.name: part.folder(cache) for part in self.robust}

    def ood_folders(self, cache: Path) -> dict[str, Path]:
        return {part.name: part.folder(cache) for part in self.ood}

"""References to collections: what the roles of ``data`` name beside a source's own domains.

``SOURCE/NAME`` is a collection of a source that lends some: ``beir/NAME`` a public set, ``hub/NAME`` a
dataset of ``data.hub``. Anything else is a folder in BEIR format. A source hands its suite to
:func:`with_references`, which adds the referenced collections to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

from retrieval.config.data import ROLES, SOURCES, DataConfig
from retrieval.data import index
from retrieval.data.cache import digest
from retrieval.data.sources import Suite, check_roles
from retrieval.errors import ConfigError


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


@dataclass(frozen=True)
class Folder:
    """A reference to a BEIR folder; nothing is copied."""

    path: Path

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def splits(self) -> tuple[str, ...]:
        """The files under ``qrels/``."""
        return tuple(index.split_files(self.path))

    def fingerprint(self, cache: Path | None) -> str:
        """Hash of the content; the path does not matter."""
        return index.fingerprint(self.path, cache)

    def folder(self, cache: Path) -> Path:
        """The folder itself."""
        return self.path

    def __str__(self) -> str:
        return str(self.path)


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
    find = SOURCES[kind].reference if name and kind in SOURCES else None
    return folder(key, text) if find is None else cast(Reference, find(config, name, key))


def folder(key: str, path: str) -> Folder:
    """The folder that ``key`` names.

    Raises:
        ConfigError: there is no such folder.
    """
    place = Path(path).expanduser().resolve()
    if not place.is_dir():
        reason = "is not a folder" if place.exists() else "does not exist"
        raise ConfigError(f"{key}={path} {reason} (looked at {place}); give a folder in BEIR format")
    return Folder(place)


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
    roles = _Roles(config, collection.name, f"{key} {collection}", everything=True)
    label = config.label or collection.name
    return Suite(label, collection.folder(cache), **roles.folders(cache), fingerprint=found)


def fingerprint_of(config: DataConfig, key: str, collection: Reference, cache: Path | None) -> str:
    """Fingerprint of the same suite; builds nothing."""
    need_split(key, collection, "train", f"it can serve as an OOD test domain: data.ood=[{collection}]")
    need_split(key, collection, "test", "the effectiveness is measured on it")
    roles = _Roles(config, collection.name, f"{key} {collection}", everything=True)
    # Called after the first source that had it: the identities of stored runs hold this fingerprint.
    return digest(
        {"source": "local", "in_domain": collection.fingerprint(cache), **roles.fingerprints(cache)}
    )


def with_references(suite: Suite, config: DataConfig, cache: Path) -> Suite:
    """The suite of a source with domains of its own, and the referenced collections in their roles."""
    roles = _Roles(config, suite.in_domain.name, suite.name)
    if roles.empty:
        return suite
    check_roles({role: [*getattr(suite, role), *roles.names(role)] for role in ROLES})
    added = roles.folders(cache)
    return replace(
        suite,
        robust={**suite.robust, **added["robust"]},
        robust_dev={**suite.robust_dev, **added["robust_dev"]},
        ood={**suite.ood, **added["ood"]},
        fingerprint=extended_fingerprint(suite.fingerprint, config, cache),
    )


def extended_fingerprint(fingerprint: str, config: DataConfig, cache: Path | None) -> str:
    """A source's own fingerprint, with that of the referenced collections where there are some."""
    roles = _Roles(config)
    return fingerprint if roles.empty else digest({"suite": fingerprint, **roles.fingerprints(cache)})


class _Roles:
    """The referenced collections of a configuration by role, checked."""

    def __init__(
        self, config: DataConfig, in_domain: str = "", description: str = "", everything: bool = False
    ) -> None:
        """``everything``: no name is a domain of the source's own."""
        self._parts: dict[str, list[Reference]] = {
            role: [
                resolve(f"data.{role}", name, config)
                for name in getattr(config, role)
                if everything or is_reference(name)
            ]
            for role in ROLES
        }
        check_roles({role: self.names(role) for role in ROLES})
        for role, parts in self._parts.items():
            for part in parts:
                if part.name == in_domain:
                    raise ConfigError(
                        f"data.{role} {part} has the name of the in-domain collection ({description}); each "
                        "collection has one role and its own name"
                    )
                _need_split_of(role, part)

    @property
    def empty(self) -> bool:
        return not any(self._parts.values())

    def names(self, role: str) -> list[str]:
        return [part.name for part in self._parts[role]]

    def fingerprints(self, cache: Path | None) -> dict[str, dict[str, str]]:
        """By role. A suite without robust-dev domains keeps the fingerprint it had before there were some."""
        return {
            role: {part.name: part.fingerprint(cache) for part in parts}
            for role, parts in self._parts.items()
            if parts or role != "robust_dev"
        }

    def folders(self, cache: Path) -> dict[str, dict[str, Path]]:
        return {
            role: {part.name: part.folder(cache) for part in parts} for role, parts in self._parts.items()
        }


def _need_split_of(role: str, part: Reference) -> None:
    """Refuse a collection without the split that its role needs."""
    if role == "robust":
        need_split("data.robust", part, "train", f"it can serve as an OOD test domain: data.ood=[{part}]")
    elif role == "ood":
        need_split("data.ood", part, "test", "the robustness is measured on it")
    elif not {"dev", "test"} & set(part.splits):
        raise ConfigError(
            f"data.robust_dev: {part} has no dev or test judgements (splits there: "
            f"{', '.join(part.splits)}); dev/ood is measured on them, so name another collection"
        )

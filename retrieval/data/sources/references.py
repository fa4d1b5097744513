"""References to collections: what the roles of ``data`` name beside a source's own domains.

``SOURCE/NAME`` is a collection of a source that lends some: ``beir/NAME`` a public set, ``hub/NAME`` a
dataset of ``data.hub``. Anything else is a folder in BEIR format. A source hands its suite to
:func:`with_references`, which adds the referenced collections to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

from retrieval.config.data import ROLES, SOURCES, DataConfig, Source
from retrieval.data import index
from retrieval.data.cache import digest
from retrieval.data.sources import Suite, check_known, check_roles
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


def own_domains(config: DataConfig, valid: list[str]) -> dict[str, list[str]]:
    """The source's own domains by role: names that are no references.

    Raises:
        ConfigError: a name is not in ``valid``, or has two roles.
    """
    found = {role: [name for name in getattr(config, role) if not is_reference(name)] for role in ROLES}
    for role, names in found.items():
        check_known(f"data.{role}", names, valid)
    check_roles(found)
    return found


def without_empty_robust_dev(roles: Mapping[str, Any]) -> dict[str, Any]:
    """``roles`` for a fingerprint: without robust-dev domains it is what it was before there were some."""
    return {role: domains for role, domains in roles.items() if domains or role != "robust_dev"}


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


def referenced_source(
    schema: type[DataConfig], key: str, in_domain: Callable[[DataConfig], Reference], **more: Any
) -> Source:
    """A source without domains of its own: the in-domain collection is a reference, too.

    Args:
        schema: of its configuration.
        key: that names the in-domain collection.
        in_domain: finds the in-domain collection; raises :class:`ConfigError` where there is none.
        more: fields of :class:`Source`.
    """

    def fingerprint(config: DataConfig, cache: Path | None = None) -> str:
        collection = in_domain(config)
        need_split(key, collection, "train", f"it can serve as an OOD test domain: data.ood=[{collection}]")
        need_split(key, collection, "test", "the effectiveness is measured on it")
        roles = _Roles(config, collection.name, f"{key} {collection}", everything=True)
        # Called after the first source that had it: the identities of stored runs hold this fingerprint.
        return digest(
            {"source": "local", "in_domain": collection.fingerprint(cache), **roles.fingerprints(cache)}
        )

    def prepare(config: DataConfig, cache: Path) -> Suite:
        found, collection = fingerprint(config, cache), in_domain(config)
        folders = _Roles(config, everything=True).folders(cache)
        return Suite(config.label or collection.name, collection.folder(cache), **folders, fingerprint=found)

    return Source(schema, fingerprint, prepare, **more)


def with_references(suite: Suite, config: DataConfig, cache: Path) -> Suite:
    """The suite of a source with domains of its own, and the referenced collections in their roles."""
    roles = _Roles(config, suite.in_domain.name, suite.name)
    if roles.empty:
        return suite
    check_roles({role: [*getattr(suite, role), *roles.names(role)] for role in ROLES})
    added = roles.folders(cache)
    folders: dict[str, Any] = {role: {**getattr(suite, role), **added[role]} for role in ROLES}
    return replace(suite, **folders, fingerprint=extended_fingerprint(suite.fingerprint, config, cache))


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
        """By role and name."""
        return {
            role: {part.name: part.fingerprint(cache) for part in parts}
            for role, parts in without_empty_robust_dev(self._parts).items()
        }

    def folders(self, cache: Path) -> dict[str, dict[str, Path]]:
        return {
            role: {part.name: part.folder(cache) for part in parts} for role, parts in self._parts.items()
        }


def _need_split_of(role: str, part: Reference) -> None:
    if role == "robust":
        need_split("data.robust", part, "train", f"it can serve as an OOD test domain: data.ood=[{part}]")
    elif role == "ood":
        need_split("data.ood", part, "test", "the robustness is measured on it")
    elif not {"dev", "test"} & set(part.splits):
        raise ConfigError(
            f"data.robust_dev: {part} has no dev or test judgements (splits there: "
            f"{', '.join(part.splits)}); dev/ood is measured on them, so name another collection"
        )

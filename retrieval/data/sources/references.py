"""References to collections: what the roles of ``data`` name beside a source's own domains.

``SOURCE/NAME`` is a collection of a source that lends some: ``beir/NAME`` a public set, ``hub/NAME`` a
dataset of ``data.hub``. Anything else is a folder in BEIR format. A source hands its suite to
:func:`with_references`, which adds the referenced collections to it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, cast

from retrieval.config.data import ROLES, SOURCES, DataConfig, Source
from retrieval.data import index
from retrieval.data.cache import build_once, digest
from retrieval.data.sources import Suite, check_roles
from retrieval.errors import ConfigError

IN_DOMAIN = "in-domain"
"""Folder and name of the in-domain collection of a source with domains of its own."""


@dataclass(frozen=True)
class Reference(ABC):
    """A collection that a configuration names; nothing is downloaded or built before :meth:`folder`."""

    kind: ClassVar[str]
    """The source that lends it."""
    name: str
    """How the collection is called in results."""

    @property
    @abstractmethod
    def splits(self) -> tuple[str, ...]:
        """Splits that the prepared folder has."""

    @abstractmethod
    def fingerprint(self, cache: Path | None) -> str:
        """Hash that changes when the content would."""

    def build(self, folder: Path, cache: Path) -> None:
        """Write the collection as a BEIR folder, which does not exist yet.

        Raises:
            ConfigError, DataError, DownloadError: it is not there, not as described, or not to be had.
        """
        raise NotImplementedError

    def folder(self, cache: Path) -> Path:
        """The collection as a BEIR folder, built once; raises what :meth:`build` does."""
        place = cache / "sources" / self.kind / self.fingerprint(cache)[:32]
        build_once(place, lambda target: self.build(target / self.name, cache), describe=str(self))
        return place / self.name

    def __str__(self) -> str:
        """What the collection is, in messages."""
        return f"{self.kind}/{self.name}"


@dataclass(frozen=True)
class Folder(Reference):
    """A reference to a BEIR folder; nothing is copied."""

    path: Path

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
        for name in names:
            if name not in valid:
                raise ConfigError(
                    f"data.{role} names the unknown domain {name!r}; choose from {', '.join(valid)}"
                )
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
    return Folder(place.name, place)


_NEEDED: dict[str, tuple[tuple[str, ...], str]] = {
    "robust": (("train",), "it can serve as an OOD test domain: data.ood=[{}]"),
    "robust_dev": (("dev", "test"), "dev/ood is measured on them, so name another collection"),
    "ood": (("test",), "the robustness is measured on it"),
}
"""Role -> splits of which a collection needs one, and the way out where it has none."""


def _need_split(key: str, collection: Reference, splits: tuple[str, ...], hint: str) -> None:
    """Refuse a collection that has none of ``splits``: the message names it, its splits and the way out."""
    if not set(splits) & set(collection.splits):
        raise ConfigError(
            f"{key}: {collection} has no {' or '.join(splits)} judgements "
            f"(splits there: {', '.join(collection.splits)}); {hint.format(collection)}"
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
        _need_split(key, in_domain(config), *_NEEDED["robust"])
        return measured_fingerprint(config, cache)

    def measured_fingerprint(config: DataConfig, cache: Path | None) -> str:
        """The same for what is measured only, which needs no training judgements."""
        collection = in_domain(config)
        _need_split(key, collection, ("test",), "the effectiveness is measured on it")
        roles = _Roles(config, collection.name, f"{key} {collection}", everything=True)
        # Called after the first source that had it: the identities of stored runs hold this fingerprint.
        return digest(
            {"source": "local", "in_domain": collection.fingerprint(cache), **roles.fingerprints(cache)}
        )

    def prepare(config: DataConfig, cache: Path) -> Suite:
        found, collection = measured_fingerprint(config, cache), in_domain(config)
        folders = _Roles(config, everything=True).folders(cache)
        return Suite(config.label or collection.name, collection.folder(cache), **folders, fingerprint=found)

    return Source(schema, fingerprint, prepare, **more)


def own_suite(
    config: DataConfig, cache: Path, folder: Path, roles: Mapping[str, list[str]], fingerprint: str
) -> Suite:
    """The suite of a source whose own domains lie in ``folder`` by name, with the references of its roles."""
    domains = {role: {name: folder / name for name in names} for role, names in roles.items()}
    own = Suite(config.label or config.name, folder / IN_DOMAIN, **domains, fingerprint=fingerprint)
    return with_references(own, config, cache)


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
                _need_split(f"data.{role}", part, *_NEEDED[role])

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

"""Documentation strings of installed packages: real text that every machine already has.

Domains and their packages stand in ``data.domains`` (``conf/data/pydocs.yaml``). Text is read with
``ast`` only; nothing is imported or executed. Each domain becomes a BEIR folder with a
``manifest.json`` beside it that counts what was dropped and why.
"""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from retrieval.config.data import SOURCES, DataConfig, Source
from retrieval.config.knobs import knob
from retrieval.data.cache import build_once, digest
from retrieval.data.sources import Suite, packages, references, twins
from retrieval.data.sources.references import IN_DOMAIN
from retrieval.errors import ConfigError

VERSION = 1
# However small a domain is, most of its queries are for training and some are for testing.
_MAX_TEST_SHARE = 0.2
_MAX_DEV_SHARE = 0.1


@dataclass
class PydocsConfig(DataConfig):
    """Documentation strings of the installed packages: text every machine already has."""

    name: str = "pydocs"
    domains: dict[str, list[str]] = knob(
        {}, "Domain -> packages. in-domain is the training collection; the roles name the others."
    )
    test_queries: int = knob(
        1500,
        "Test queries held out in-domain, and taken of each OOD domain; fewer where it is smaller.",
        minimum=1,
    )
    dev_queries: int = knob(
        500,
        "Dev queries held out in-domain and of each robust-training domain, and taken of each robust-dev "
        "domain; fewer where it is smaller.",
        minimum=1,
    )


@dataclass(frozen=True)
class _Domains:
    """The domains in use, each with its packages; a package belongs to one domain."""

    roles: dict[str, list[str]]
    """Role -> its domains; without the in-domain one."""
    members: dict[str, list[packages.Package]]
    """Domain -> its packages."""

    def versions(self, domain: str) -> dict[str, str]:
        """Package -> version."""
        return {package.name: package.version for package in self.members[domain]}


def fingerprint(config: DataConfig, cache: Path | None = None) -> str:
    """Hash of the versions of the packages in use, of the extraction rules and of the split sizes.

    Raises:
        ConfigError: as :func:`prepare`.
    """
    settings = cast(PydocsConfig, config)
    return references.extended_fingerprint(_fingerprint(settings, _domains(settings)), config, cache)


def prepare(config: DataConfig, cache: Path) -> Suite:
    """Build the suite, once, under ``cache/sources/pydocs/``.

    Raises:
        ConfigError: a domain is unknown or has two roles, a package is not installed or stands in
            two domains, or a split size is below 1.
    """
    settings = cast(PydocsConfig, config)
    domains = _domains(settings)
    identity = _fingerprint(settings, domains)
    folder = build_once(
        cache / "sources" / "pydocs" / identity[:32],
        lambda target: _build(target, settings, domains, cache),
        describe="documentation strings of the installed packages",
    )
    return references.own_suite(config, cache, folder, domains.roles, identity)


def _domains(config: PydocsConfig) -> _Domains:
    named = {name: list(members) for name, members in config.domains.items()}
    if not named.get(IN_DOMAIN):
        raise ConfigError(
            f"data.domains has no packages under {IN_DOMAIN!r}, the training collection; name some"
        )
    roles = references.own_domains(config, [name for name in named if name != IN_DOMAIN])
    _check_packages(named)
    used = [name for names in roles.values() for name in names] + [IN_DOMAIN]
    found = {
        name: [packages.find(package, f"data.domains.{name}") for package in named[name]] for name in used
    }
    return _Domains(roles, found)


def _check_packages(domains: Mapping[str, Sequence[str]]) -> None:
    owner: dict[str, str] = {}
    for domain, members in domains.items():
        for package in members:
            if package in owner:
                both = f"{owner[package]!r} and {domain!r}"
                raise ConfigError(f"data.domains names {package!r} under {both}; a package has one domain")
            owner[package] = domain


def _fingerprint(config: PydocsConfig, domains: _Domains) -> str:
    roles = {role: {name: domains.versions(name) for name in names} for role, names in domains.roles.items()}
    return digest(
        {
            "rules": [VERSION, packages.VERSION],
            "in_domain": domains.versions(IN_DOMAIN),
            **references.without_empty_robust_dev(roles),
            "queries": [config.test_queries, config.dev_queries],
        }
    )


def _build(target: Path, config: PydocsConfig, domains: _Domains, cache: Path) -> None:
    extracted = packages.read([package for part in domains.members.values() for package in part], cache)

    def write(name: str, elsewhere: AbstractSet[str], role: str) -> AbstractSet[str]:
        read = [extracted[package.name] for package in domains.members[name]]
        pool = twins.pool((pair for pairs, _ in read for pair in pairs), elsewhere)
        if not pool.relevant:
            raise ConfigError(
                f"the packages of data.domains.{name} hold no usable documentation; name others"
            )
        for _, dropped in read:
            pool.dropped.update(dropped)
        _write(target / name, pool, _splits(pool, config, role), domains.versions(name))
        return pool.passages.keys()

    # A text that two domains share stays where it is listed first here, so that no training
    # passage stands in a test or in robust-dev, and so that tests depend on no other role.
    taken = frozenset(write(IN_DOMAIN, frozenset(), IN_DOMAIN))
    for role in ("ood", "robust_dev", "robust"):
        taken = taken.union(*[write(name, taken, role) for name in domains.roles[role]])


def _splits(pool: twins.Pool, config: PydocsConfig, role: str) -> dict[str, str]:
    """Split of each query: an OOD domain only tests, a robust-dev one has dev alone, a robust one no test."""
    count = len(pool.relevant)
    if role == "ood":
        return twins.split(pool.relevant, {"test": config.test_queries}, None)
    if role == "robust_dev":
        return twins.split(pool.relevant, {"dev": config.dev_queries}, None)
    dev = {"dev": min(config.dev_queries, int(count * _MAX_DEV_SHARE))}
    test = {"test": min(config.test_queries, int(count * _MAX_TEST_SHARE))} if role == IN_DOMAIN else {}
    return twins.split(pool.relevant, {**test, **dev}, "train")


def _write(folder: Path, pool: twins.Pool, splits: Mapping[str, str], versions: Mapping[str, str]) -> None:
    (folder / "qrels").mkdir(parents=True)
    ids = _write_corpus(folder / "corpus.jsonl", pool)
    query_ids: dict[str, str] = {}
    with (folder / "queries.jsonl").open("w", encoding="utf-8", newline="\n") as file:
        for query in splits:
            query_ids[query] = f"q:{ids[pool.relevant[query][0]]}#{len(query_ids)}"
            file.write(json.dumps({"_id": query_ids[query], "text": pool.queries[query]}) + "\n")
    pairs: dict[str, int] = {}
    for split in sorted(set(splits.values())):
        with (folder / "qrels" / f"{split}.tsv").open("w", encoding="utf-8", newline="\n") as file:
            file.write("query-id\tcorpus-id\tscore\n")
            chosen = [query for query, name in splits.items() if name == split]
            rows = [(query_ids[query], ids[text]) for query in chosen for text in pool.relevant[query]]
            file.writelines(f"{query}\t{passage}\t1\n" for query, passage in rows)
            pairs[split] = len(rows)
    manifest = {
        "packages": versions,
        "passages": len(ids),
        "queries": len(query_ids),
        "queries_not_needed": len(pool.relevant) - len(query_ids),
        "pairs": pairs,
        "dropped": dict(sorted(pool.dropped.items())),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _write_corpus(path: Path, pool: twins.Pool) -> dict[str, str]:
    """Write the passages; return normalised text -> id, which is the dotted name of the object."""
    ids: dict[str, str] = {}
    used: dict[str, int] = {}
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for text, pair in pool.passages.items():
            used[pair.name] = used.get(pair.name, 0) + 1
            ids[text] = pair.name if used[pair.name] == 1 else f"{pair.name}#{used[pair.name]}"
            file.write(json.dumps({"_id": ids[text], "title": pair.title, "text": pair.text}) + "\n")
    return ids


SOURCES.register("pydocs", Source(PydocsConfig, fingerprint, prepare))

"""``data=pydocs`` on a made-up tree of packages, on real ones, and as configured."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from retrieval.data import sources
from retrieval.data.collection import Collection, open_collection
from retrieval.data.sources import packages
from retrieval.data.sources.pydocs import PydocsConfig
from retrieval.data.splits import check_disjoint
from retrieval.errors import ConfigError

REPOSITORY = Path(__file__).resolve().parents[2]
BODY = "The result depends on the settings of the machine and on the number of workers in use there, case {}."


def function(name: str, summary: str, body: str) -> str:
    return f'def {name}():\n    """{summary}\n\n    {body}\n    """\n\n'


def module(prefix: str, count: int) -> str:
    numbers = [(f"f{n}", f"{prefix} {n}") for n in range(count)]
    return "".join(
        function(name, f"Compute number {text} of them.", BODY.format(text)) for name, text in numbers
    )


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Made-up packages; importing any of them fails."""
    root = tmp_path / "site"
    content = {
        "core_pkg/__init__.py": 'raise RuntimeError("imported")\n"""x"""',
        "core_pkg/first.py": module("first", 60),
        "core_pkg/deep/__init__.py": module("deep", 10),
        "core_pkg/tests/test_it.py": module("hidden", 3),
        "core_pkg/tests/helper.py": module("hidden", 3),
        "core_pkg/_vendor/copy.py": module("hidden", 3),
        "core_pkg/test_alone.py": module("hidden", 3),
        "core_pkg/not-a-package/script.py": module("hidden", 3),
        "core_pkg/broken.py": '"""Broken',
        "side_pkg/__init__.py": module("side", 30)
        + function("f0", "Another summary of it.", BODY.format("first 0")),
        "test_pkg/__init__.py": module("other", 20)
        + function("f1", "Yet another summary of it.", BODY.format("side 1")),
        "single_pkg.py": module("single", 5),
    }
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    monkeypatch.syspath_prepend(str(root))
    return root


CONFIG = PydocsConfig(
    domains={
        "in-domain": ["core_pkg"],
        "side": ["side_pkg"],
        "other": ["test_pkg"],
        "single": ["single_pkg"],
    },
    robust=["side"],
    ood=["other", "single"],
    test_queries=10,
    dev_queries=5,
)


def opened(config: PydocsConfig, cache: Path) -> dict[str, Collection]:
    suite = sources.prepare(config, cache)
    folders = {"in-domain": suite.in_domain, **suite.robust, **suite.robust_dev, **suite.ood}
    return {name: open_collection(folder, cache, name) for name, folder in folders.items()}


def test_suite_of_a_made_up_tree(tree: Path, tmp_path: Path) -> None:
    collections = opened(CONFIG, tmp_path / "cache")
    sizes = {
        name: {split: len(collection.judgements(split)) for split in collection.splits}
        for name, collection in collections.items()
    }
    assert sizes == {
        "in-domain": {"train": 55, "dev": 5, "test": 10},
        "side": {"train": 27, "dev": 2},
        "other": {"test": 10},
        "single": {"test": 5},
    }
    assert "core_pkg" not in sys.modules
    in_domain = dict(collections["in-domain"].passages())
    assert len(in_domain) == 70
    assert in_domain["core_pkg.deep.f3"] == f"core_pkg.deep.f3 {BODY.format('deep 3')}\ndef f3():"
    assert not any("hidden" in text for text in in_domain.values())


def test_manifest_counts_what_was_dropped(tree: Path, tmp_path: Path) -> None:
    suite = sources.prepare(CONFIG, tmp_path / "cache")
    manifest = json.loads((suite.in_domain / "manifest.json").read_text())
    assert manifest["dropped"] == {"files": 4, "unreadable_file": 1}
    assert manifest["pairs"] == {"train": 55, "dev": 5, "test": 10}
    assert list(manifest["packages"]) == ["core_pkg"]
    # A text that stands in two domains stays in the in-domain collection, then in the OOD tests.
    assert json.loads((suite.robust["side"] / "manifest.json").read_text())["dropped"] == {
        "files": 1,
        "passage_of_other_domain": 2,
    }
    other = json.loads((suite.ood["other"] / "manifest.json").read_text())
    assert (other["passages"], other["queries"], other["queries_not_needed"]) == (21, 10, 11)


def test_no_passage_or_query_is_shared(tree: Path, tmp_path: Path) -> None:
    collections = opened(CONFIG, tmp_path / "cache")
    in_domain = collections["in-domain"]
    for rows in ("passage_rows", "query_rows"):
        seen = [set(getattr(in_domain.judgements(split), rows).tolist()) for split in in_domain.splits]
        assert sum(map(len, seen)) == len(set.union(*seen))
    ood = {name: collections[name] for name in ("other", "single")}
    assert check_disjoint(in_domain, {"side": collections["side"]}, ood).counts == {}


def test_the_same_packages_give_the_same_bytes(tree: Path, tmp_path: Path) -> None:
    one, two = sources.prepare(CONFIG, tmp_path / "one"), sources.prepare(CONFIG, tmp_path / "two")
    files = sorted(path.relative_to(one.in_domain.parent) for path in one.in_domain.parent.rglob("*.*"))
    assert len(files) > 16
    for name in files:
        assert (one.in_domain.parent / name).read_bytes() == (two.in_domain.parent / name).read_bytes()


def test_roles_can_be_swapped_and_left_out(tree: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, robust=["other"], ood=["side"])
    collections = opened(config, tmp_path / "cache")
    assert collections["other"].splits == ("train", "dev")
    assert collections["side"].splits == ("test",)
    assert list(opened(dataclasses.replace(CONFIG, robust=[], ood=[]), tmp_path / "cache")) == ["in-domain"]


def test_a_robust_dev_domain_has_only_dev_queries(tree: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, robust_dev=["other"], ood=["single"])
    collections = opened(config, tmp_path / "cache")
    assert collections["other"].splits == ("dev",)
    assert len(collections["other"].judgements("dev")) == config.dev_queries
    robust, robust_dev, ood = ({name: collections[name]} for name in ("side", "other", "single"))
    assert check_disjoint(collections["in-domain"], robust, ood, robust_dev=robust_dev).counts == {}
    # "side" and "other" share a text: it stays in robust-dev, whatever is trained on.
    shared = BODY.format("side 1")
    assert any(shared in text for _, text in collections["other"].passages())
    assert not any(shared in text for _, text in collections["side"].passages())


def test_robust_dev_leaves_the_tests_as_they_are(tree: Path, tmp_path: Path) -> None:
    plain = opened(dataclasses.replace(CONFIG, ood=["single"]), tmp_path / "cache")
    steered = opened(dataclasses.replace(CONFIG, ood=["single"], robust_dev=["other"]), tmp_path / "cache")
    for name in ("in-domain", "single"):
        assert plain[name].fingerprint == steered[name].fingerprint


def test_fingerprint_follows_what_changes_the_content(tree: Path, tmp_path: Path) -> None:
    base = sources.fingerprint(CONFIG)
    assert base == sources.fingerprint(dataclasses.replace(CONFIG, frac=0.5, vocabulary=10, label="x"))
    assert base == sources.prepare(CONFIG, tmp_path / "cache").fingerprint
    dev = {"robust_dev": ["single"], "ood": ["other"]}
    found = [base]
    for change in ({"test_queries": 9}, {"dev_queries": 4}, {"robust": []}, {"ood": ["other"]}, dev):
        found.append(sources.fingerprint(dataclasses.replace(CONFIG, **change)))  # type: ignore[arg-type]
    assert len(set(found)) == len(found)
    # A package without metadata is known by its files.
    (tree / "core_pkg" / "new.py").write_text(module("new", 1))
    assert sources.fingerprint(CONFIG) != base


def test_a_new_version_of_one_package_reads_only_that_one(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources.prepare(CONFIG, tmp_path / "cache")
    read: list[str] = []
    original = packages.extract
    monkeypatch.setattr(
        packages, "extract", lambda content, name: read.append(name) or original(content, name)
    )
    (tree / "side_pkg" / "__init__.py").write_text(module("side", 31))
    sources.prepare(CONFIG, tmp_path / "cache")
    assert read == ["side_pkg"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"robust": ["sidee"]}, "data.robust names the unknown domain 'sidee'; choose from side, other, single"),
    ({"ood": ["in-domain"]}, "data.ood names the unknown domain 'in-domain'; choose from side, other"),
    ({"robust_dev": ["core"]}, "data.robust_dev names the unknown domain 'core'; choose from side, other"),
    ({"robust": ["other"]}, "the domain 'other' is in data.robust and in data.ood"),
    ({"robust_dev": ["side"]}, "the domain 'side' is in data.robust and in data.robust_dev"),
    ({"robust_dev": ["other"]}, "the domain 'other' is in data.robust_dev and in data.ood"),
    ({"ood": ["other", "other"]}, "data.ood names the domain 'other' twice"),
    ({"domains": {"side": ["side_pkg"]}}, "data.domains has no packages under 'in-domain'"),
    ({"domains": {**CONFIG.domains, "in-domain": ["no_such_pkg"]}},
     "data.domains.in-domain names the package 'no_such_pkg', which is not installed"),
    ({"domains": {**CONFIG.domains, "in-domain": ["not a name"]}}, "'not a name', which is not installed"),
    ({"domains": {**CONFIG.domains, "single": ["side_pkg"]}},
     "data.domains names 'side_pkg' under 'side' and 'single'; a package has one domain"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_messages_name_the_value_and_the_fix(tree: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sources.fingerprint(dataclasses.replace(CONFIG, **change))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_domain_that_is_not_used_need_not_be_installed(tree: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIG, domains={**CONFIG.domains, "absent": ["no_such_pkg"]})
    assert sources.fingerprint(config) == sources.fingerprint(CONFIG)


def test_a_domain_without_documentation(tree: Path, tmp_path: Path) -> None:
    (tree / "single_pkg.py").write_text("x = 1\n")
    with pytest.raises(ConfigError, match=r"data\.domains\.single hold no usable documentation"):
        sources.prepare(CONFIG, tmp_path / "cache")


def test_worker_processes_give_the_same_pairs(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = packages.find("core_pkg", "key")
    alone = packages.read([package], tmp_path / "alone")
    monkeypatch.setattr(packages, "_ALONE_BYTES", 0)
    monkeypatch.setattr(packages, "_BATCH_BYTES", 2000)
    assert packages.read([package], tmp_path / "together") == alone


def _read_in_child(folder: str, site: str) -> None:
    sys.path.insert(0, site)
    packages._ALONE_BYTES = 0
    pairs, _ = packages.read([packages.find("core_pkg", "key")], Path(folder))["core_pkg"]
    (Path(folder) / "count").write_text(str(len(pairs)))


@pytest.mark.parametrize(("method", "daemon"), [("forkserver", False), ("spawn", True)])
def test_reading_from_a_child_process(tree: Path, tmp_path: Path, method: str, daemon: bool) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    context = multiprocessing.get_context(method)
    child = context.Process(target=_read_in_child, args=(str(tmp_path), str(tree)), daemon=daemon)  # type: ignore[attr-defined]
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert (tmp_path / "count").read_text() == "70"


def test_packages_of_python_itself() -> None:
    library = packages.find("stdlib", "key")
    names = [name for _, name in packages._files("stdlib", library.roots)]
    assert {"json", "json.decoder", "collections"} <= set(names)
    assert not [
        name for name in names if name.split(".")[0] in ("test", "idlelib", "site-packages", "pydoc_data")
    ]
    assert packages.find("pydoc_data.topics", "key").version == library.version


def test_configured_domains_are_what_the_design_asks_for() -> None:
    table = yaml.safe_load((REPOSITORY / "conf" / "data" / "pydocs.yaml").read_text())
    members = [package for domain in table["domains"].values() for package in domain]
    assert len(members) == len(set(members))
    assert len(table["ood"]) >= 3
    assert table["robust"]
    assert not set(table["robust"]) & set(table["ood"])


def configured(**changes: Any) -> PydocsConfig:
    table = yaml.safe_load((REPOSITORY / "conf" / "data" / "pydocs.yaml").read_text())
    del table["defaults"]
    return PydocsConfig(**{**table, **changes})


def test_one_real_package(tmp_path: Path) -> None:
    domains = {"in-domain": ["bm25s"], "other": ["ir_measures"]}
    config = configured(domains=domains, robust=[], robust_dev=[], ood=["other"])
    collections = opened(config, tmp_path)
    judgements = collections["in-domain"].judgements("train")
    assert len(judgements) > 20
    queries = collections["in-domain"].query_texts(judgements.query_rows)
    passages = collections["in-domain"].passage_texts(judgements.passage_rows)
    assert all(
        query.rstrip(".").lower() not in passage.lower()
        for query, passage in zip(queries, passages, strict=True)
    )
    assert all(passage.startswith("bm25s") for passage in passages)


@pytest.mark.slow
def test_the_configured_suite(tmp_path: Path) -> None:
    collections = opened(configured(), tmp_path)
    in_domain = collections.pop("in-domain")
    assert len(in_domain.judgements("train")) >= 25_000
    assert in_domain.counts["queries/test"] >= 1000
    robust = {name: collections.pop(name) for name in configured().robust}
    assert min(len(collection.judgements("train")) for collection in robust.values()) >= 2000
    robust_dev = {name: collections.pop(name) for name in configured().robust_dev}
    assert min(collection.counts["queries/dev"] for collection in robust_dev.values()) >= 400
    assert min(collection.counts["queries/test"] for collection in collections.values()) >= 400
    assert check_disjoint(in_domain, robust, collections, robust_dev=robust_dev).counts == {}
    everything = [in_domain, *robust.values(), *robust_dev.values(), *collections.values()]
    assert [collection.counts["passages/empty"] for collection in everything] == [0] * len(everything)

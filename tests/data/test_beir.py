"""``data=beir/NAME`` and ``data=msmarco`` from a local server: splits, rules, roles, failures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from beir.datasets.data_loader import GenericDataLoader
from omegaconf import OmegaConf

from retrieval.config import EvalConfig
from retrieval.config.beir_sets import BEIR_SETS
from retrieval.config.data import DataConfig
from retrieval.data import sources
from retrieval.data.collection import Collection, open_collection
from retrieval.data.negatives import relevance_of
from retrieval.data.sources import beir
from retrieval.data.sources.beir import BeirConfig
from retrieval.data.sources.local import LocalConfig
from retrieval.data.sources.synthetic import SyntheticConfig
from retrieval.data.splits import check_disjoint
from retrieval.errors import ConfigError, DataError, DownloadError
from retrieval.evaluation.suite import build_sets
from tests.data.serving import Served, archive
from tests.end_to_end.conftest import composed

Publish = Callable[..., str]
PASSAGES = [
    {"_id": "p1", "title": "First", "text": "of all", "metadata": {"url": "x"}},
    {"_id": "p2", "title": "", "text": "second of all"},
    {"_id": "p3", "title": "Third", "text": ""},
]
QUERIES = {"q1": "which is first", "q2": "which is second", "q3": "which is third"}
TRAIN, DEV, TEST = [("q1", "p1", 1)], [("q2", "p2", 2)], [("q3", "p3", 1), ("q3", "p1", 0)]


@pytest.fixture
def publish(served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Function that serves a small archive under the name of a public set."""

    def make(
        name: str, passages: list[dict] = PASSAGES, queries: dict[str, str] = QUERIES, **qrels: list
    ) -> str:
        row = BEIR_SETS[name]
        path = tmp_path / row.file
        judged = qrels or {"train": TRAIN, "dev": DEV, "test": TEST}
        md5 = archive(path, row.folder or row.name, passages, queries, judged)
        served.files[row.file] = path.read_bytes()
        monkeypatch.setitem(BEIR_SETS, name, dataclasses.replace(row, md5=md5))
        return md5

    return make


def config(served: Served, name: str, **roles: list[str]) -> BeirConfig:
    return BeirConfig(collection=name, label=name, beir_url=served.url, **roles)


def opened(served: Served, cache: Path, name: str) -> Collection:
    row = dataclasses.replace(BEIR_SETS[name])
    return open_collection(beir.PublicSet(row.name, row, served.url).folder(cache), cache)


def test_a_set_becomes_the_folder_that_beir_loads(served: Served, publish: Publish, tmp_path: Path) -> None:
    publish("nfcorpus")
    suite = sources.prepare(config(served, "nfcorpus"), tmp_path / "cache")
    assert suite.name == suite.in_domain.name == "nfcorpus"
    collection = open_collection(suite.in_domain, tmp_path / "cache")
    assert collection.splits == ("train", "dev", "test")
    for split in collection.splits:
        corpus, queries, qrels = GenericDataLoader(str(suite.in_domain)).load(split=split)
        judged = collection.judgements(split)
        found = zip(
            collection.query_ids(judged.query_rows),
            collection.passage_ids(judged.passage_rows),
            judged.grades,
        )
        expected = {(q, p): grade for q, row in qrels.items() for p, grade in row.items() if grade > 0}
        assert {(q, p): grade for q, p, grade in found} == expected
        texts = dict(collection.queries())
        assert {key: texts[key] for key in queries} == queries
        assert dict(collection.passages()) == {
            key: f"{record['title']} {record['text']}".strip() for key, record in corpus.items()
        }
    before = len(served.asked)
    assert sources.prepare(config(served, "nfcorpus"), tmp_path / "cache") == suite
    assert len(served.asked) == before


def test_ms_marco_is_evaluated_on_dev_small(served: Served, publish: Publish, tmp_path: Path) -> None:
    publish("msmarco")
    collection = opened(served, tmp_path / "cache", "msmarco")
    assert collection.splits == ("train", "test")
    assert collection.query_ids(collection.judgements("test").query_rows) == ["q2"]
    data = composed("data=msmarco", "model=bert-base").data
    assert (data.collection, data.default_init) == ("msmarco", "pretrained")
    assert data.default_pretrained == "google/bert_uncased_L-12_H-768_A-12"


@pytest.mark.parametrize("name", ["arguana", "quora", "scidocs"])
def test_identical_ids_never_count_in_arguana_and_quora(
    served: Served, publish: Publish, tmp_path: Path, name: str
) -> None:
    texts = {f"t{number}": f"argument {number}" for number in range(40)}
    passages = [{"_id": key, "title": "", "text": text} for key, text in texts.items()]
    publish(name, passages, texts, dev=[("t1", "t2", 1)], test=[("t3", "t4", 1), ("t5", "t6", 1)])
    collection = opened(served, tmp_path / "cache", name)
    ruled = name != "scidocs"
    assert collection.drop_identical == ruled
    sets = build_sets(collection, {"again": collection}, EvalConfig(negatives=30, pool=None))
    for part in (sets.eff, sets.ood["again"]):
        assert part.identical.tolist() == ([3, 5] if ruled else [-1, -1])
    rows = collection.passage_rows(["t3", "t4", "t7"])
    [query] = collection.judgements("test").query_rows[:1]
    found = relevance_of(collection, tmp_path / "cache").of(query, rows)
    assert found.tolist() == [ruled, True, False]


def test_judgements_without_passage_and_queries_without_text_are_left_out_and_counted(
    served: Served, publish: Publish, tmp_path: Path
) -> None:
    queries = {**QUERIES, "q4": " "}
    test = [("q3", "p3", 1), ("q3", "gone", 1), ("q4", "p1", 1), ("q9", "p1", 1)]
    publish("arguana", queries=queries, test=test)
    collection = opened(served, tmp_path / "cache", "arguana")
    assert collection.counts["pairs/test"] == 1
    assert collection.counts["dropped/test/unknown_id"] == 3
    assert collection.counts["dropped/queries/empty"] == 1


def test_forums_of_cqadupstack_share_one_download(served: Served, publish: Publish, tmp_path: Path) -> None:
    publish("cqadupstack-android", test=TEST)
    cache = tmp_path / "cache"
    assert opened(served, cache, "cqadupstack-android").name == "cqadupstack-android"
    assert [path for path, _ in served.asked] == ["/cqadupstack.zip"]
    with pytest.raises(DownloadError, match=r"cqadupstack\.zip has md5"):
        opened(served, cache, "cqadupstack-gis")  # of the real checksum


def test_roles_mix_sources(
    served: Served, publish: Publish, write_collection: Callable[..., Path], tmp_path: Path
) -> None:
    publish("nfcorpus")
    publish(
        "scifact",
        [{"_id": "s1", "text": "science"}],
        {"q": "what"},
        train=[("q", "s1", 1)],
        test=[("q", "s1", 1)],
    )
    folder = write_collection("mine", passages={"m1": "one", "m2": "two"}, test=[("q1", "m1", 1)])
    cache = tmp_path / "cache"
    chosen = config(served, "nfcorpus", robust=["beir/scifact"], ood=[str(folder)])
    suite = sources.prepare(chosen, cache)
    assert list(suite.robust) == ["scifact"]
    assert suite.ood == {"mine": folder}
    assert suite.fingerprint == sources.fingerprint(chosen, cache)
    assert suite.fingerprint != sources.fingerprint(config(served, "nfcorpus"), cache)

    local = LocalConfig(path=str(suite.in_domain), ood=["beir/scifact"], beir_url=served.url)
    assert list(sources.prepare(local, cache).ood) == ["scifact"]
    steered = config(served, "nfcorpus", robust_dev=["beir/scifact"], ood=[str(folder)])
    assert sources.prepare(steered, cache).robust_dev == {"scifact": suite.robust["scifact"]}
    assert sources.fingerprint(steered, cache) == sources.prepare(steered, cache).fingerprint
    assert sources.fingerprint(steered, cache) != suite.fingerprint
    drawn = SyntheticConfig(
        passages=30, queries=30, topics=2, words=80, domains=2, ood=["domain-2", "beir/scifact"]
    )
    drawn.beir_url = served.url
    mixed = sources.prepare(drawn, cache)
    assert list(mixed.ood) == ["domain-2", "scifact"]
    assert mixed.fingerprint == sources.fingerprint(drawn, cache)
    assert mixed.fingerprint != sources.fingerprint(dataclasses.replace(drawn, ood=["domain-2"]), cache)


def test_roles_that_overlap_are_refused(served: Served, publish: Publish, tmp_path: Path) -> None:
    publish("nfcorpus")
    wrong = [
        ("data: beir/arguana has no train judgements (splits there: test); it can serve as an OOD test "
         "domain: data.ood=[beir/arguana]", config(served, "arguana")),
        ("data.robust: beir/quora has no train judgements (splits there: dev, test); it can serve as an OOD",
         config(served, "nfcorpus", robust=["beir/quora"])),
        ("data.ood beir/nfcorpus has the name of the in-domain collection (data beir/nfcorpus); each",
         config(served, "nfcorpus", ood=["beir/nfcorpus"])),
        ("the domain 'fiqa' is in data.robust and in data.ood",
         config(served, "nfcorpus", robust=["beir/fiqa"], ood=["beir/fiqa"])),
        ("data.ood: beir/scifcat is not known (did you mean scifact?); valid: msmarco, trec-covid",
         config(served, "nfcorpus", ood=["beir/scifcat"])),
        ("data.ood: hub/squad is not defined (known: none); add '+data.hub.squad=",
         config(served, "nfcorpus", ood=["hub/squad"])),
    ]  # fmt: skip
    for message, chosen in wrong:
        with pytest.raises(ConfigError) as caught:
            sources.fingerprint(chosen, tmp_path / "cache")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)
    assert served.asked == []


def test_passages_shared_by_training_and_test_are_counted(
    served: Served, publish: Publish, tmp_path: Path
) -> None:
    publish("nfcorpus", train=[("q1", "p1", 1), ("q2", "p2", 1)], dev=TEST, test=TEST)
    publish("scidocs", [{"_id": "other", "text": "First of  ALL"}], {"q": "what"}, test=[("q", "other", 1)])
    home, away = opened(served, tmp_path / "cache", "nfcorpus"), opened(served, tmp_path / "cache", "scidocs")
    with pytest.raises(ConfigError, match=r"also relevant in a test: 1 of nfcorpus's with scidocs"):
        check_disjoint(home, {}, {"scidocs": away})
    assert check_disjoint(home, {}, {"scidocs": away}, "drop").counts == {"overlap/nfcorpus/scidocs": 1}


def test_an_interrupted_download_is_resumed_by_the_same_command(
    served: Served, publish: Publish, tmp_path: Path
) -> None:
    publish("nfcorpus")
    served.cut = [500, 0, 0, 0, 0]
    cache = tmp_path / "cache"
    with pytest.raises(DownloadError, match="500 bytes are kept and the same command resumes"):
        sources.prepare(config(served, "nfcorpus"), cache)
    assert not list((cache / "sources" / "beir").glob("*/"))
    served.cut = []
    assert sources.prepare(config(served, "nfcorpus"), cache).in_domain.is_dir()
    assert served.asked[-1][1] == "bytes=500-"


def test_an_archive_put_in_place_needs_no_network(served: Served, publish: Publish, tmp_path: Path) -> None:
    publish("nfcorpus")
    offline = dataclasses.replace(config(served, "nfcorpus"), beir_url="http://127.0.0.1:9")
    cache = tmp_path / "cache"
    with pytest.raises(DownloadError) as caught:
        sources.prepare(offline, cache)
    place = cache / "downloads" / "beir" / "nfcorpus.zip"
    assert f"(2 MB, md5 {BEIR_SETS['nfcorpus'].md5}) and put it at {place}, or name a mirror" in str(
        caught.value
    )
    place.write_bytes(served.files["nfcorpus.zip"])
    sources.prepare(offline, cache)
    assert sources.fingerprint(offline) == sources.fingerprint(config(served, "nfcorpus"))


def test_an_archive_without_the_set_is_a_data_error(served: Served, publish: Publish, tmp_path: Path) -> None:
    publish("nfcorpus", train=TRAIN, test=TEST)
    with pytest.raises(DataError, match=r"nfcorpus\.zip: There is no item named 'nfcorpus/qrels/dev\.tsv'"):
        opened(served, tmp_path / "cache", "nfcorpus")


@pytest.mark.parametrize("name", sorted(BEIR_SETS))
def test_every_set_is_an_option(name: str) -> None:
    data = composed(f"data=beir/{name}").data
    assert (data.name, data.collection, data.label) == ("beir", name, name)
    row = BEIR_SETS[name]
    assert len(row.md5) == 32
    assert row.evaluated in row.splits


@pytest.mark.parametrize("name", ["beir-ood", "beir-small"])
def test_every_suite_names_known_sets_in_one_role_each(name: str) -> None:
    data: DataConfig = OmegaConf.to_object(composed(f"suite={name}").data)  # type: ignore[assignment]
    assert len(sources.fingerprint(data)) == 64
    other = composed(f"suite={name}", "data=beir/hotpotqa", "data.robust=[beir/fever]", "data.ood=[beir/nq]")
    assert (other.data.collection, other.data.robust, other.data.overlap) == (
        "hotpotqa",
        ["beir/fever"],
        "drop",
    )
    [unknown] = data.robust_dev
    assert "dev" in BEIR_SETS[unknown.removeprefix("beir/")].splits

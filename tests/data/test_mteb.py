"""``mteb/TASK``: tasks registered here, written as BEIR folders and measured as mteb measures them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.config import EvalConfig
from retrieval.data import sources
from retrieval.data.collection import open_collection
from retrieval.data.sources.mteb import MtebConfig, write
from retrieval.errors import ConfigError, DataError, DownloadError
from retrieval.evaluation.suite import build_sets, evaluate_suite
from retrieval.search.sentence_transformer import sentence_transformer_retriever

mteb = pytest.importorskip("mteb")

WORDS = ("red", "blue", "stone", "river", "cloud", "tree", "light", "sound", "paper", "glass", "iron", "salt")
PASSAGES, QUERIES = 60, 20


def drawn(generator: np.random.Generator, count: int) -> str:
    return " ".join(generator.choice(WORDS, count))


def contents() -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, int]]]:
    generator = np.random.default_rng(0)
    corpus = {f"p{k}": {"title": f"t{k}", "text": drawn(generator, 6)} for k in range(PASSAGES)}
    # Some with the id of a passage.
    queries = {f"p{k}" if k < 5 else f"q{k}": drawn(generator, 3) for k in range(QUERIES)}
    judged: dict[str, dict[str, int]] = {}
    for query in queries:
        chosen = generator.choice(PASSAGES, 3, replace=False)
        grades = {f"p{k}": 1 + int(generator.integers(2)) for k in chosen if f"p{k}" != query}
        judged[query] = grades
    return corpus, queries, judged


asked: list[list[str] | None] = []
"""Subsets that were loaded, by call."""


def task_class(name: str, **more: Any) -> Any:
    """A task of mteb with the contents above; ``more``: attributes of the class."""
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    settings = {
        "name": name,
        "description": "A toy.",
        "dataset": {"path": "nobody/toy", "revision": "1"},
        "type": "Retrieval",
        "category": "t2t",
        "eval_splits": ["train"],
        "eval_langs": ["eng-Latn"],
        "main_score": "ndcg_at_10",
        **more.pop("metadata", {}),
    }

    def load_data(self: Any, **_: Any) -> None:
        if self.data_loaded:
            return
        corpus, queries, judged = contents()
        names = self.hf_subsets if self.metadata.is_multilingual else None
        asked.append(names)
        parts = {"corpus": corpus, "queries": queries, "relevant_docs": judged}
        for key, value in parts.items():
            split = {"train": value}
            setattr(self, key, dict.fromkeys(names, split) if names else split)
        self.data_loaded = True

    attributes = {"metadata": TaskMetadata(**settings), "load_data": load_data, **more}
    return type(name, (AbsTaskRetrieval,), attributes)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """mteb's registry, in which classes may be put for one test."""
    registry: dict[str, Any] = sys.modules["mteb.get_tasks"]._TASKS_REGISTRY  # type: ignore[attr-defined]
    for task in (
        task_class("ToyRetrieval"),
        task_class("ToySameIds", ignore_identical_ids=True),
        task_class("ToySubsets", metadata={"eval_langs": {"one": ["eng-Latn"], "two": ["deu-Latn"]}}),
        task_class("ToyImages", metadata={"modalities": ["text", "image"], "category": "t2i"}),
        task_class("ToyFar", load_data=_no_network),
    ):
        monkeypatch.setitem(registry, task.metadata.name, task)
    return registry


def _no_network(self: Any, **_: Any) -> None:
    raise ConnectionError("Couldn't reach 'nobody/toy' on the Hub")


def test_a_task_is_written_as_a_folder_once(registered: dict[str, Any], tmp_path: Path) -> None:
    config = MtebConfig(task="ToyRetrieval")
    suite = sources.prepare(config, tmp_path)
    collection = open_collection(suite.in_domain, tmp_path)
    assert collection.name == "ToyRetrieval"
    assert (collection.counts["passages"], collection.counts["queries"]) == (PASSAGES, QUERIES)
    assert collection.splits == ("test",)
    assert not collection.drop_identical
    corpus, queries, judged = contents()
    ids = list(corpus)
    assert collection.passage_texts([3]) == [f"{corpus[ids[3]]['title']} {corpus[ids[3]]['text']}"]
    assert collection.query_texts([7]) == [list(queries.values())[7]]
    assert len(collection.judgements("test")) == sum(map(len, judged.values()))
    registered["ToyRetrieval"] = task_class("ToyRetrieval", load_data=_no_network)
    assert sources.prepare(config, tmp_path) == suite


def test_a_subset_is_a_domain_of_its_own(registered: dict[str, Any], tmp_path: Path) -> None:
    config = MtebConfig(task="ToyRetrieval", ood=["mteb/ToySubsets/two", "mteb/ToySameIds"])
    asked.clear()
    suite = sources.prepare(config, tmp_path)
    assert list(suite.ood) == ["ToySubsets-two", "ToySameIds"]
    assert ["two"] in asked
    assert ["one", "two"] not in asked
    assert open_collection(suite.ood["ToySameIds"], tmp_path).drop_identical
    other = MtebConfig(task="ToyRetrieval", ood=["mteb/ToySubsets/one", "mteb/ToySameIds"])
    assert sources.prepare(other, tmp_path).fingerprint != suite.fingerprint


@pytest.mark.parametrize("name", ["ToyRetrieval", "ToySameIds"])
def test_metrics_are_those_of_mteb(registered: dict[str, Any], tmp_path: Path, name: str) -> None:
    from mteb.models import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer

    from tests.evaluation.test_against_beir import save_model

    collection = open_collection(sources.prepare(MtebConfig(task=name), tmp_path).in_domain, tmp_path)
    folder = save_model(collection, tmp_path / "model")
    config = EvalConfig(max_queries=None, pool=None, bm25=False, negatives=20)
    sets = build_sets(collection, {}, config)
    found = evaluate_suite(sentence_transformer_retriever(folder), sets, config, tmp_path).metrics
    model = SentenceTransformerEncoderWrapper(SentenceTransformer(str(folder), device="cpu"))
    scores = mteb.get_task(name).evaluate(model, "train", encode_kwargs={"show_progress_bar": False})[
        "default"
    ]
    # mteb rounds to five digits.
    assert found["eff/ndcg@10"] == pytest.approx(scores["ndcg_at_10"], abs=6e-6)
    assert found["eff/mrr@10"] == pytest.approx(scores["mrr_at_10"], abs=6e-6)
    assert found["eff/recall@100"] == pytest.approx(scores["recall_at_100"], abs=6e-6)
    assert 0.05 < found["eff/ndcg@10"] < 0.95


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("ToyRetreival", r"mteb/ToyRetreival is not known.*; mteb 2\..* has \d+ retrieval tasks"),
        ("NFCorpusRetrieval", r"mteb/NFCorpusRetrieval is not known \(did you mean \w*NFCorpus\w*\?\)"),
        ("STS12", "mteb/STS12 is no retrieval task: it is a task of STS"),
        ("CQADupstackRetrieval", "it joins several tasks; name them: CQADupstackAndroidRetrieval"),
        ("ToyImages", "mteb/ToyImages holds text, image; only texts are read"),
        ("ToySubsets", "has several subsets; name one as mteb/ToySubsets/SUBSET: one, two"),
        ("ToySubsets/three", "has no subset 'three'; name one as mteb/ToySubsets/SUBSET: one, two"),
    ],
)
def test_what_cannot_be_is_one_line(
    registered: dict[str, Any], tmp_path: Path, name: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        sources.prepare(MtebConfig(task="ToyRetrieval", ood=[f"mteb/{name}"]), tmp_path)
    assert "\n" not in str(raised.value)


def test_roles(registered: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.robust: mteb/ToyRetrieval has no train judgements"):
        sources.prepare(MtebConfig(task="ToySameIds", robust=["mteb/ToyRetrieval"]), tmp_path)
    twice = ["mteb/ToyRetrieval"]
    with pytest.raises(ConfigError, match=r"in data.robust_dev and in data.ood"):
        sources.prepare(MtebConfig(task="ToySameIds", robust_dev=twice, ood=twice), tmp_path)
    with pytest.raises(ConfigError, match=r"data.task: mteb/ToyRetrieval has no train judgements"):
        sources.fingerprint(MtebConfig(task="ToyRetrieval"))
    with pytest.raises(ConfigError, match=r"data=mteb needs data\.task=NAME"):
        sources.prepare(MtebConfig(), tmp_path)


def test_a_task_out_of_reach_says_how_to_bring_it(registered: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"cannot load the task mteb/ToyFar \(Couldn't reach.*HF_HOME"):
        sources.prepare(MtebConfig(task="ToyFar"), tmp_path)


def test_without_mteb_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(ConfigError, match=r"needs mteb: pip install 'paretrieve\[mteb\]'"):
        sources.prepare(MtebConfig(task="ToyRetrieval"), tmp_path)


def test_data_that_no_run_can_read_are_refused(tmp_path: Path) -> None:
    import datasets

    corpus = datasets.Dataset.from_dict({"id": ["a"], "text": ["red"]})
    queries = datasets.Dataset.from_dict({"id": ["q"], "text": ["red"], "instruction": ["find it"]})
    data = {"corpus": corpus, "queries": queries, "relevant_docs": {"q": {"a": 1}}, "top_ranked": None}
    with pytest.raises(DataError, match="has an instruction in each query"):
        write(data, tmp_path / "a", "mteb/X", drop_identical=False)
    with pytest.raises(DataError, match="ranks given candidates"):
        write({**data, "top_ranked": {"q": ["a"]}}, tmp_path / "b", "mteb/X", drop_identical=False)
    turns = datasets.Dataset.from_dict({"id": ["q"], "text": [["red", "blue"]]})
    with pytest.raises(DataError, match="the text of q is a list, not a text"):
        write({**data, "queries": turns}, tmp_path / "c", "mteb/X", drop_identical=False)

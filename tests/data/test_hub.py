"""``data=hub``: columns, splits, identities and failures, on local files and an unreachable hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest

from retrieval.config import Config
from retrieval.config.data import HubDataset
from retrieval.data import sources
from retrieval.data.collection import Collection, open_collection
from retrieval.data.sources.hub import HubConfig
from retrieval.data.sources.local import LocalConfig
from retrieval.data.splits import check_disjoint
from retrieval.errors import ConfigError, DataError, ParetrieveError
from retrieval.run.identity import data_label
from tests.conftest import REPOSITORY

ROWS = [
    {"query": "what is one", "passage": "one is a number"},
    {"query": "what is two", "passage": "two is a number"},
    {"query": "what is one", "passage": "one is the first"},
    {"query": "which is first", "passage": " one is the first "},
    {"query": "", "passage": "nobody asks"},
    {"query": "what is three", "passage": "three is a number"},
]


def write(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def opened(tmp_path: Path, **settings: Any) -> Collection:
    cache = tmp_path / "cache"
    return open_collection(sources.prepare(HubConfig(**settings), cache).in_domain, cache)


def pairs(collection: Collection, split: str) -> set[tuple[str, str, int]]:
    judged = collection.judgements(split)
    queries, passages = (
        collection.query_texts(judged.query_rows),
        collection.passage_texts(judged.passage_rows),
    )
    return set(zip(queries, passages, judged.grades.tolist(), strict=True))


def test_a_file_with_split_slices(tmp_path: Path) -> None:
    path = write(tmp_path / "numbers.jsonl", ROWS)
    collection = opened(tmp_path, dataset=str(path), train="train[:4]", test="train[4:]")
    assert collection.name == "numbers"
    assert pairs(collection, "train") == {
        ("what is one", "one is a number", 1),
        ("what is two", "two is a number", 1),
        ("what is one", "one is the first", 1),
        ("which is first", "one is the first", 1),
    }
    assert pairs(collection, "test") == {("what is three", "three is a number", 1)}
    assert (collection.counts["queries"], collection.counts["passages"]) == (4, 4)
    assert collection.counts["dropped/test/empty_query"] == 1
    assert collection.counts["passages/repeated_text"] == 0


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_formats_columns_ids_and_scores(tmp_path: Path, suffix: str) -> None:
    table = datasets.Dataset.from_dict(
        {
            "question": ["a?", "a?", "b?", "b?"],
            "qid": [1, 1, 2, 2],
            "heading": ["", "Ex", "Ex", "Why"],
            "body": ["ay", "ecks", "ecks", "wy"],
            "pid": ["p:1", "p:2", "p:2", "p:3"],
            "label": [1, 0, 2, 1],
        }
    )
    path = tmp_path / f"table{suffix}"
    if suffix == ".parquet":
        table.to_parquet(str(path))
    else:
        table.to_csv(str(path), sep="\t" if suffix == ".tsv" else ",")
    columns = {"query": "question", "query_id": "qid", "passage": "body", "passage_id": "pid"}
    collection = opened(
        tmp_path,
        dataset=str(path),
        **columns,
        title="heading",
        score="label",
        test="train[2:]",
        train="train[:2]",
    )
    assert dict(collection.passages()) == {"p:1": "ay", "p:2": "Ex ecks", "p:3": "Why wy"}
    assert dict(collection.queries()) == {"1": "a?", "2": "b?"}
    assert pairs(collection, "train") == {("a?", "ay", 1)}
    assert pairs(collection, "test") == {("b?", "Ex ecks", 2), ("b?", "Why wy", 1)}
    assert collection.counts["dropped/train/not_relevant"] == 1


def test_a_folder_with_lists_of_passages(tmp_path: Path) -> None:
    row = {"query": "a?", "passage": ["ay", "bee", "see"], "label": [1, 0, 1]}
    write(tmp_path / "set" / "train.jsonl", [row])
    write(tmp_path / "set" / "test.jsonl", [{"query": "b?", "passage": ["bee"], "label": [1]}])
    collection = opened(tmp_path, dataset=str(tmp_path / "set"), score="label")
    assert pairs(collection, "train") == {("a?", "ay", 1), ("a?", "see", 1)}
    assert pairs(collection, "test") == {("b?", "bee", 1)}
    assert collection.counts["passages"] == 3


def test_named_datasets_have_roles(tmp_path: Path) -> None:
    home = write(tmp_path / "home.jsonl", ROWS)
    away = write(tmp_path / "away.jsonl", [{"query": "elsewhere?", "passage": "one is a  NUMBER"}])
    config = HubConfig(dataset=str(home), train="train[:4]", test="train[5:]", ood=["hub/far"])
    config.hub = {"far": HubDataset(dataset=str(away), train=None, test="train")}
    suite = sources.prepare(config, tmp_path / "cache")
    assert list(suite.ood) == ["far"]
    first, other = (open_collection(path, tmp_path / "cache") for path in (suite.in_domain, suite.ood["far"]))
    with pytest.raises(ConfigError, match="1 of home's with far"):
        check_disjoint(first, {}, {"far": other})
    beside = LocalConfig(path=str(suite.in_domain), ood=["hub/far"], hub=config.hub)
    assert list(sources.prepare(beside, tmp_path / "cache").ood) == ["far"]


def test_fingerprint_follows_content_columns_and_revision(tmp_path: Path) -> None:
    one, two = write(tmp_path / "one" / "set.jsonl", ROWS), write(tmp_path / "two" / "set.jsonl", ROWS)
    found = sources.fingerprint(HubConfig(dataset=str(one), test="train"))
    assert sources.fingerprint(HubConfig(dataset=str(two), test="train", revision="other")) == found
    assert sources.fingerprint(HubConfig(dataset=str(one), test="train", passage="other")) != found
    write(two, ROWS[:2])
    assert sources.fingerprint(HubConfig(dataset=str(two), test="train")) != found
    at = {sources.fingerprint(HubConfig(dataset="some/pairs", revision=name)) for name in ("main", "1a2b")}
    assert len(at) == 2
    assert data_label(Config(data=HubConfig(dataset="some/pairs"))) == "pairs"


def test_messages_name_the_value_and_the_fix(tmp_path: Path) -> None:
    path = write(tmp_path / "set.jsonl", ROWS)
    twice = write(tmp_path / "twice.jsonl", [{**row, "id": "same"} for row in ROWS])
    mixed = write(tmp_path / "mixed.jsonl", [{"query": "a?", "passage": 3}])
    half = write(tmp_path / "half.jsonl", [{**ROWS[0], "label": 0.5}])
    text = tmp_path / "set.txt"
    text.write_text("text")
    wrong: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ConfigError, "data.dataset is not set; give a Hugging Face dataset id", {}),
        (ConfigError, "no known format; valid: .jsonl, .json, .csv", {"dataset": str(text)}),
        (ConfigError, "split train has no column 'answer' (passage); its columns are query, passage",
         {"dataset": str(path), "passage": "answer", "test": "train"}),
        (ConfigError, f"data.dataset={path}, split 'validation': Unknown split",
         {"dataset": str(path), "test": "validation"}),
        (ConfigError, "data: hub/set has no test judgements (splits there: train)",
         {"dataset": str(path), "test": None}),
        (DataError, "the passage of pair 2 has the id of that of pair 1 and another text",
         {"dataset": str(twice), "passage_id": "id", "test": "train"}),
        (DataError, "hub/mixed: train row 1: passage is a int; it must be text",
         {"dataset": str(mixed), "test": "train"}),
        (DataError, "hub/half: train row 1: score 0.5 is no whole number",
         {"dataset": str(half), "test": "train", "score": "label"}),
    ]  # fmt: skip
    for kind, message, settings in wrong:
        with pytest.raises(kind) as caught:
            sources.prepare(HubConfig(**settings), tmp_path / "cache")
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("Dataset scripts are no longer supported, but found pairs.py"), "is made by a script"),
        (EOFError("the connection was cut"), "the connection was cut"),
    ],
)
def test_whatever_the_library_raises_is_one_line(
    error: Exception, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(ParetrieveError, match=words) as caught:
        sources.prepare(HubConfig(dataset="some/pairs"), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_an_unreachable_hub_is_one_line_and_status_one(tmp_path: Path) -> None:
    arguments = ["data=hub", "data.dataset=some/pairs", "logger=none", f"cache={tmp_path}/c"]
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf")}
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "train.py"), *arguments, f"runs={tmp_path}/runs"],
        capture_output=True, text=True, env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "cannot load the dataset some/pairs" in line
    assert "hf download some/pairs --repo-type dataset --revision main --local-dir FOLDER" in line
    assert "Traceback" not in done.stderr
    assert "Retrying" not in done.stderr


@pytest.mark.parametrize("word", ["NA", "null", "None", "nan"])
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_a_word_that_tables_use_for_nothing_is_a_text(tmp_path: Path, word: str, suffix: str) -> None:
    separator = "," if suffix == "csv" else "\t"
    rows = ["query\tpassage", "what is nothing\t" + word, f"{word}\tnothing", "what is empty\t", "one\t1 a"]
    path = tmp_path / f"table.{suffix}"
    path.write_text("".join(row.replace("\t", separator) + "\n" for row in rows))
    collection = opened(tmp_path, dataset=str(path), train=None, test="train")
    assert pairs(collection, "test") == {
        ("what is nothing", word, 1),
        (word, "nothing", 1),
        ("one", "1 a", 1),
    }
    assert collection.counts["dropped/test/empty_passage"] == 1


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", b"", "the file is empty; it needs at least one row"),
        ("a.csv", b"", "the file is empty; it needs at least one row"),
        ("a.jsonl", b'{"query": "a", "passage": "b', "split 'train': JSON parse error"),
        ("a.csv", b"query,passage\na,caf\xe9\n", "split 'train': 'utf-8' codec can't decode byte 0xe9"),
    ],
)
def test_a_damaged_file_is_refused_with_the_reason(
    tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        opened(tmp_path, dataset=str(path), train=None, test="train")
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1

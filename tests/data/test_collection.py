"""Collections in BEIR format: what is read, what is counted, and every way to be malformed."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from retrieval.data import gzipped
from retrieval.data.collection import Collection, open_collection
from retrieval.data.records import hash_text
from retrieval.errors import DataError

Write = Callable[..., Path]


def texts(collection: Collection) -> dict[str, str]:
    return dict(collection.passages())


def test_reads_passages_queries_and_judgements(write_collection: Write, tmp_path: Path) -> None:
    folder = write_collection(
        passages=[
            {"_id": "a", "title": "Title", "text": " some text "},
            {"_id": "b", "text": "no title"},
            {"_id": "ü", "title": None, "text": "naïve ☃ text"},
            {"_id": "d", "title": "only a title", "text": ""},
        ],
        queries={"q1": "one", "q2": "two"},
        train=[("q2", "b", 1), ("q1", "ü", 2), ("q1", "a", 1)],
        test=[("q2", "d", 1)],
        extra=[("q1", "d", 1)],
        dev=[("q1", "b", 1)],
    )
    collection = open_collection(folder, tmp_path / "cache")
    assert texts(collection) == {
        "a": "Title some text",
        "b": "no title",
        "ü": "naïve ☃ text",
        "d": "only a title",
    }
    assert list(collection.queries()) == [("q1", "one"), ("q2", "two")]
    assert collection.splits == ("train", "dev", "test", "extra")
    assert collection.name == "small"
    train = collection.judgements("train")
    assert train.query_rows.tolist() == [0, 0, 1]
    assert train.passage_rows.tolist() == [0, 2, 1]
    assert train.grades.tolist() == [1, 2, 1]
    assert (train.query_rows.dtype, train.passage_rows.dtype, train.grades.dtype) == (
        np.int64,
        np.int64,
        np.int32,
    )
    assert collection.passage_ids([3, 2, 0]) == ["d", "ü", "a"]
    assert collection.query_ids(np.array([1])) == ["q2"]
    assert collection.passage_texts([2, 0]) == ["naïve ☃ text", "Title some text"]
    assert collection.query_texts([1]) == ["two"]
    assert train.take([2, 0]).passage_rows.tolist() == [1, 0]
    assert {
        key: collection.counts[key] for key in ("passages", "queries", "pairs/train", "queries/train")
    } == {
        "passages": 4,
        "queries": 2,
        "pairs/train": 3,
        "queries/train": 2,
    }
    with pytest.raises(KeyError, match="no split 'validation'; it has train, dev, test, extra"):
        collection.judgements("validation")


def test_drops_are_counted(write_collection: Write, tmp_path: Path) -> None:
    folder = write_collection(
        passages={"p1": "Same  text", "p2": "same text", "p3": "", "p4": "other"},
        queries={"q1": "one"},
        train=[("q1", "p1", 1), ("q1", "p1", 1), ("q1", "p4", 0), ("q1", "p2", -2), ("q1", "p3", 1)],
        test=[("q1", "p3", 1)],
    )
    collection = open_collection(folder, tmp_path / "cache")
    assert collection.judgements("train").passage_rows.tolist() == [0]
    # An empty passage keeps its judgement in a test, so that published figures stay comparable.
    assert collection.judgements("test").passage_rows.tolist() == [2]
    assert collection.counts == {
        "passages": 4,
        "passages/empty": 1,
        "passages/repeated_text": 1,
        "queries": 1,
        "queries/repeated_text": 0,
        "pairs/train": 1,
        "queries/train": 1,
        "dropped/train/repeated": 1,
        "dropped/train/not_relevant": 2,
        "dropped/train/empty_passage": 1,
        "dropped/train/queries": 0,
        "pairs/test": 1,
        "queries/test": 1,
        "dropped/test/repeated": 0,
        "dropped/test/not_relevant": 0,
        "dropped/test/empty_passage": 0,
        "dropped/test/queries": 0,
    }
    hashes = collection.passage_hashes()
    assert hashes[0] == hashes[1] == hash_text("SAME text")
    assert hashes[0] != hashes[3]


CORPUS_ERRORS = {
    b'{"_id": "x", "text": "a"': "not valid JSON (Expecting ',' delimiter at column 25); write one object",
    b"": "blank line; remove it",
    b'["x"]': "the line holds a list; it must be a JSON object with _id and text",
    b'{"text": "a"}': "no key '_id'; the keys are text",
    b'{"_id": "x"}': "no key 'text'; the keys are _id",
    b'{"_id": 7, "text": "a"}': "_id is a number; it must be a string",
    b'{"_id": "x", "text": null}': "text is null; it must be a string",
    b'{"_id": "x", "text": ["a"]}': "text is a list; it must be a string",
    b'{"_id": "x", "title": 3, "text": "a"}': "title of 'x' is a number; it must be a string or absent",
    b'{"_id": " ", "text": "a"}': "_id is empty; give the record an id",
    b'{"_id": "x\\ty", "text": "a"}': "_id 'x\\ty' holds a tab or line break, so qrels cannot name it",
    b'{"_id": "p1", "text": "a"}': "_id 'p1' is already on line 1; give each record its own id",
    b'{"_id": "x", "text": "\xff"}': "not valid UTF-8 at byte 23 of the line; save the file as UTF-8",
    b'{"_id": "x", "text": "\\ud83d"}': "the text holds half of a surrogate pair",
    b"[" * 100_000: "not valid JSON",
}


@pytest.mark.parametrize(("line", "reason"), CORPUS_ERRORS.items(), ids=lambda value: str(value)[:40])
def test_malformed_corpus_names_file_line_and_reason(
    write_collection: Write, tmp_path: Path, line: bytes, reason: str
) -> None:
    folder = write_collection()
    path = folder / "corpus.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], line, *lines[1:]]) + b"\n")
    with pytest.raises(DataError) as caught:
        open_collection(folder, tmp_path / "cache")
    assert str(caught.value).startswith(f"{path}:2: {reason}")
    assert "\n" not in str(caught.value)


QUERY_ERRORS = {
    '{"_id": "x", "text": "  "}': "query 'x' is empty; give it text or remove it and its judgements",
    '{"_id": "q1", "text": "again"}': "_id 'q1' is already on line 1; give each record its own id",
    '{"_id": "x", "query": "a"}': "no key 'text'; the keys are _id, query",
}


@pytest.mark.parametrize(("line", "reason"), QUERY_ERRORS.items())
def test_malformed_queries_name_file_line_and_reason(
    write_collection: Write, tmp_path: Path, line: str, reason: str
) -> None:
    folder = write_collection()
    path = folder / "queries.jsonl"
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError) as caught:
        open_collection(folder, tmp_path / "cache")
    assert str(caught.value) == f"{path}:3: {reason}"


QRELS_ERRORS = {
    "q1\tp9\t1": "passage id 'p9' is not in corpus.jsonl; add the passage or remove the judgement",
    "q9\tp1\t1": "query id 'q9' is not in queries.jsonl; add the query or remove the judgement",
    "q1\tp2\t1.0": "score '1.0' is not an integer; relevant passages have 1 or more",
    "q1\tp2\t": "score '' is not an integer; relevant passages have 1 or more",
    "q1\tp2\t99999999999": "score '99999999999' is not an integer; relevant passages have 1 or more",
    "q1 p2 1": "1 column(s); it must be query-id, corpus-id, score with a tab between",
    "q1\t0\tp2\t1": "4 column(s); it must be query-id, corpus-id, score with a tab between",
    "": "blank line; remove it",
    "q1\tp1\t2": "the pair has score 2 here and 1 on line 2; keep one",
}


@pytest.mark.parametrize(("line", "reason"), QRELS_ERRORS.items())
def test_malformed_qrels_name_file_line_and_reason(
    write_collection: Write, tmp_path: Path, line: str, reason: str
) -> None:
    folder = write_collection()
    path = folder / "qrels" / "train.tsv"
    with path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError) as caught:
        open_collection(folder, tmp_path / "cache")
    assert str(caught.value) == f"{path}:3: {reason}"


def test_many_unknown_ids_are_counted_in_the_message(write_collection: Write, tmp_path: Path) -> None:
    folder = write_collection(train=[("q1", "p1", 1), ("q1", "p7", 1), ("q2", "p8", 1)])
    with pytest.raises(DataError, match=r"train.tsv:3: passage id 'p7' is not in .*\(1 more such lines\)"):
        open_collection(folder, tmp_path / "cache")


def test_qrels_without_header(write_collection: Write, tmp_path: Path) -> None:
    folder = write_collection()
    path = folder / "qrels" / "test.tsv"
    path.write_text("q2\tp2\t1\n")
    with pytest.raises(DataError) as caught:
        open_collection(folder, tmp_path / "cache")
    expected = "the header is ['q2', 'p2', '1']; it must be query-id, corpus-id, score with a tab between"
    assert str(caught.value) == f"{path}:1: {expected}"


@pytest.mark.parametrize(
    "content", ["", "query-id\tcorpus-id\tscore\n", "query-id\tcorpus-id\tscore\nq1\tp1\t0\n"]
)
def test_a_split_without_a_relevant_pair(write_collection: Write, tmp_path: Path, content: str) -> None:
    folder = write_collection()
    (folder / "qrels" / "dev.tsv").write_text(content)
    with pytest.raises(DataError, match=r"dev\.tsv: no relevant pair"):
        open_collection(folder, tmp_path / "cache")


@pytest.mark.parametrize("missing", ["corpus.jsonl", "queries.jsonl", "qrels/train.tsv qrels/test.tsv"])
def test_missing_files_are_named(write_collection: Write, tmp_path: Path, missing: str) -> None:
    folder = write_collection()
    for name in missing.split():
        (folder / name).unlink()
    with pytest.raises(DataError, match=r"no such file|no \*\.tsv file"):
        open_collection(folder, tmp_path / "cache")


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_an_empty_file_is_refused(write_collection: Write, tmp_path: Path, name: str) -> None:
    folder = write_collection()
    (folder / name).write_bytes(b"")
    with pytest.raises(DataError, match=rf"{name}: the file is empty"):
        open_collection(folder, tmp_path / "cache")


def test_line_ends_and_a_missing_last_one_do_not_matter(write_collection: Write, tmp_path: Path) -> None:
    folder = write_collection()
    plain = open_collection(folder, tmp_path / "cache")
    expected = texts(plain), plain.judgements("train").passage_rows.tolist()
    for path in folder.rglob("*.*"):
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
    collection = open_collection(folder, tmp_path / "cache")
    assert (texts(collection), collection.judgements("train").passage_rows.tolist()) == expected
    assert collection.passage_texts([2]) == ["third passage"]


def test_a_refused_collection_leaves_no_index(write_collection: Write, tmp_path: Path) -> None:
    folder = write_collection(train=[("q1", "unknown", 1)])
    for _ in range(2):
        with pytest.raises(DataError):
            open_collection(folder, tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob("meta.json"))


def test_fingerprint_follows_content_and_not_place(write_collection: Write, tmp_path: Path) -> None:
    first, second = write_collection("first"), write_collection("second")
    other = write_collection("other", passages={"p1": "first passage!", "p2": "second passage"})
    cache = tmp_path / "cache"
    assert open_collection(first, cache).fingerprint == open_collection(second, cache).fingerprint
    assert open_collection(first, cache).fingerprint != open_collection(other, cache).fingerprint
    (second / "qrels" / "test.tsv").rename(second / "qrels" / "dev.tsv")
    assert open_collection(first, cache).fingerprint != open_collection(second, cache).fingerprint


def test_a_change_of_the_same_length_is_noticed(write_collection: Write, tmp_path: Path) -> None:
    folder = write_collection()
    before = open_collection(folder, tmp_path / "cache")
    path = folder / "corpus.jsonl"
    path.write_text(path.read_text().replace("first", "fiRst"))
    after = open_collection(folder, tmp_path / "cache")
    assert before.fingerprint != after.fingerprint
    assert after.passage_texts([0]) == ["fiRst passage"]


def test_settled_files_are_hashed_once(
    write_collection: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_collection()
    for path in folder.rglob("*.*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    hashed: list[Path] = []
    original = gzipped.file_hash
    monkeypatch.setattr(gzipped, "file_hash", lambda path: hashed.append(path) or original(path))
    fingerprints = {open_collection(folder, tmp_path / "cache").fingerprint for _ in range(3)}
    assert len(fingerprints) == 1
    assert len(hashed) == 4
    os.utime(folder / "corpus.jsonl", (1_600_000_001, 1_600_000_001))
    open_collection(folder, tmp_path / "cache")
    assert len(hashed) == 5


def test_a_broken_memory_of_hashes_is_ignored(write_collection: Write, tmp_path: Path) -> None:
    folder = write_collection()
    for path in folder.rglob("*.*"):
        os.utime(path, (1_600_000_000, 1_600_000_000))
    fingerprint = open_collection(folder, tmp_path / "cache").fingerprint
    [memory] = (tmp_path / "cache" / "collections" / "hashes").iterdir()
    memory.write_text("{")
    assert open_collection(folder, tmp_path / "cache").fingerprint == fingerprint


def test_a_pickled_collection_maps_its_arrays_again(write_collection: Write, tmp_path: Path) -> None:
    collection = open_collection(write_collection(), tmp_path / "cache", name="renamed")
    collection.passage_ids([0])
    data = pickle.dumps(collection)
    assert len(data) < 1000
    copy = pickle.loads(data)
    assert copy.name == "renamed"
    assert copy.passage_ids([0, 2]) == ["p1", "p3"]
    assert isinstance(copy.passage_hashes(), np.memmap)


def test_ids_that_share_a_hash_are_told_apart(
    write_collection: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.data.records.hash_id", len)
    folder = write_collection(
        passages={"aa": "1", "bb": "2", "c": "3", "dd": "4"},
        train=[("q1", "dd", 1), ("q1", "bb", 1), ("q2", "c", 1)],
    )
    collection = open_collection(folder, tmp_path / "cache")
    assert collection.judgements("train").passage_rows.tolist() == [1, 3, 2]
    with (folder / "qrels" / "train.tsv").open("a") as file:
        file.write("q1\tee\t1\n")
    with pytest.raises(DataError, match="passage id 'ee' is not in"):
        open_collection(folder, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "passages", "queries", "pairs"),
    [
        ("scifact", 5183, 1109, {"train": 919, "test": 339}),
        ("fairytaleqa", 4094, 10580, {"train": 9502, "dev": 1133, "test": 1104}),
        ("cosqa", 6267, 1000, {"dev": 500, "test": 500}),
        ("climate-fever-sent", 5240, 1061, {"test": 2745}),
        ("cacm", 3204, 52, {"test": 796}),
    ],
)
def test_real_collections(
    shared: Path, tmp_path: Path, name: str, passages: int, queries: int, pairs: dict[str, int]
) -> None:
    collection = open_collection(shared / "collections" / name, tmp_path)
    assert collection.counts["passages"] == passages
    assert collection.counts["queries"] == queries
    assert {split: len(collection.judgements(split)) for split in collection.splits} == pairs
    first = json.loads((shared / "collections" / name / "corpus.jsonl").open().readline())
    assert next(collection.passages())[0] == first["_id"] == collection.passage_ids([0])[0]

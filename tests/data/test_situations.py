"""What users of other retrieval libraries report about their files: read as meant, or refused in one line."""

from __future__ import annotations

import gzip
import json
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retrieval.data.collection import Collection, open_collection
from retrieval.errors import DataError
from retrieval.evaluation.trec import read_qrels

CORPUS, QUERIES, TEST = "corpus.jsonl", "queries.jsonl", "qrels/test.tsv"
BOM = b"\xef\xbb\xbf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six passages, four queries, and a relevant passage for three of them."""
    place = tmp_path / "set"
    (place / "qrels").mkdir(parents=True)
    passages = [{"_id": f"p{n}", "title": "", "text": f"passage {n}"} for n in range(6)]
    (place / CORPUS).write_text("".join(json.dumps(passage) + "\n" for passage in passages))
    (place / QUERIES).write_text("".join(f'{{"_id": "q{n}", "text": "what is {n}"}}\n' for n in range(4)))
    rows = "".join(f"q{n}\tp{n}\t1\n" for n in range(3))
    (place / TEST).write_text(f"query-id\tcorpus-id\tscore\n{rows}")
    return place


def change(folder: Path, name: str, edit: Callable[[bytes], bytes]) -> None:
    before = (folder / name).read_bytes()
    after = edit(before)
    assert after != before
    (folder / name).write_bytes(after)


def content(found: Collection) -> Any:
    judged = found.judgements("test")
    rows = (judged.query_rows.tolist(), judged.passage_rows.tolist(), judged.grades.tolist())
    return list(found.passages()), found.passage_texts([0]), list(found.queries()), rows


def put(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new, 1)


def everywhere(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(old, new)


def before(start: bytes) -> Callable[[bytes], bytes]:
    return lambda data: start + data


def after(end: bytes) -> Callable[[bytes], bytes]:
    return lambda data: data + end


READ: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "a byte order mark before the corpus": (CORPUS, before(BOM)),
    "a byte order mark before the queries": (QUERIES, before(BOM)),
    "a byte order mark before the judgements": (TEST, before(BOM)),
    "line ends of Windows in the judgements": (TEST, everywhere(b"\n", b"\r\n")),
    "line ends of Windows in the corpus": (CORPUS, everywhere(b"\n", b"\r\n")),
    "no line end at the end": (TEST, lambda data: data.rstrip(b"\n")),
    "no title": (CORPUS, everywhere(b'"title": "", ', b"")),
    "a title that is null": (CORPUS, everywhere(b'"title": ""', b'"title": null')),
    "other keys": (CORPUS, everywhere(b'"title": ""', b'"title": "", "metadata": {"url": "x"}')),
    "a number that JSON does not have, in another key": (
        CORPUS,
        put(b'"title": ""', b'"title": "", "weight": NaN'),
    ),
    "a judgement twice": (TEST, after(b"q1\tp1\t1\n")),
    "a negative judgement": (TEST, after(b"q1\tp2\t-1\n")),
    "a judgement of 0": (TEST, after(b"q1\tp2\t0\n")),
}


@pytest.mark.parametrize("situation", READ)
def test_what_is_read_as_meant(situation: str, folder: Path, tmp_path: Path) -> None:
    expected = content(open_collection(folder, tmp_path / "cache"))
    change(folder, *READ[situation])
    assert content(open_collection(folder, tmp_path / "cache")) == expected


REFUSED: dict[str, tuple[str, Callable[[bytes], bytes], str]] = {
    "UTF-16": (CORPUS, lambda data: data.decode().encode("utf-16"), "1: not valid UTF-8 at byte 1 of"),
    "Latin-1": (CORPUS, put(b"passage 3", b"passag\xe9 3"), "4: not valid UTF-8 at byte"),
    "line ends of an old Macintosh": (TEST, everywhere(b"\n", b"\r"), "1: the header is ['query-id'"),
    "a grade with a point": (TEST, put(b"\t1\n", b"\t1.0\n"), "2: score '1.0' is not an integer"),
    "no header": (TEST, lambda data: data.split(b"\n", 1)[1], "1: the header is ['q0', 'p0', '1']; it must"),
    "TREC qrels": (
        TEST,
        lambda _: b"q0 0 p0 1\n".replace(b" ", b"\t"),
        "1: the header is ['q0', '0', 'p0', '1']; it must be query-id, corpus-id, score with a tab between "
        "(a TREC qrels file is for retrieval.evaluate --qrels)",
    ),
    "spaces between columns": (
        TEST,
        everywhere(b"\t", b" "),
        "1: the header is ['query-id ",
    ),
    "a space after an id": (TEST, put(b"p1", b"p1 "), "3: passage id 'p1 ' is not in corpus.jsonl"),
    "numbers as ids": (CORPUS, lambda data: re.sub(rb'"p(\d)"', rb"\1", data), "1: _id is a number; it must"),
    "a number as title": (CORPUS, put(b'"title": ""', b'"title": 1984'), "1: title of 'p0' is a number"),
    "a text that is null": (CORPUS, put(b'"passage 3"', b"null"), "4: text is null; it must be a string"),
    "another key for ids": (QUERIES, everywhere(b'"_id"', b'"id"'), "1: no key '_id'; the keys are id, text"),
    "a query without text": (QUERIES, put(b"what is 3", b""), "4: query 'q3' is empty; give it text"),
    "a blank line at the end of the corpus": (CORPUS, after(b"\n"), "7: blank line; remove it"),
    "a blank line at the end of the judgements": (TEST, after(b"\n"), "5: blank line; remove it"),
    "a JSON array": (
        CORPUS,
        lambda data: b"[" + data.replace(b"\n", b",")[:-1] + b"]",
        "1: the line holds a",
    ),
    "the same passage twice": (CORPUS, lambda data: data + data[: data.index(b"\n") + 1], "7: _id 'p0' is"),
    "a judged passage that is missing": (
        TEST,
        after(b"q1\tp77\t0\n"),
        "5: passage id 'p77' is not in",
    ),
    "a judged query that is missing": (TEST, after(b"q77\tp1\t1\n"), "5: query id 'q77' is not in queries"),
    "two grades of one pair": (TEST, after(b"q1\tp1\t2\n"), "5: the pair has score 2 here and 1 on line 3"),
    "a packed file under the name": (CORPUS, gzip.compress, "1: not valid UTF-8 at byte 2"),
}


@pytest.mark.parametrize("situation", REFUSED)
def test_what_is_refused_names_file_line_and_reason(situation: str, folder: Path, tmp_path: Path) -> None:
    name, edit, reason = REFUSED[situation]
    change(folder, name, edit)
    with pytest.raises(DataError) as caught:
        open_collection(folder, tmp_path / "cache")
    assert str(caught.value).startswith(f"{folder / name}:{reason}")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 600


def test_a_file_that_is_elsewhere_is_pointed_at(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"is it {re.escape(str(folder))}\?$"):
        open_collection(tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("identifier", ["p 1", "001", "p\u00a01", "1", "p1,1"])
def test_ids_are_read_as_they_are(folder: Path, tmp_path: Path, identifier: str) -> None:
    change(folder, CORPUS, put(b'"p1"', f'"{identifier}"'.encode()))
    change(folder, TEST, put(b"p1", identifier.encode()))
    found = open_collection(folder, tmp_path / "cache")
    assert found.passage_ids([1]) == [identifier]
    assert found.judgements("test").passage_rows.tolist() == [0, 1, 2]


def test_queries_without_a_relevant_passage_are_counted(folder: Path, tmp_path: Path) -> None:
    change(folder, TEST, put(b"p1\t1", b"p1\t0"))
    found = open_collection(folder, tmp_path / "cache")
    assert found.counts["queries/test"] == 2
    assert found.counts["dropped/test/queries"] == 1


def test_other_judgements_survive_a_change_of_process(folder: Path, tmp_path: Path) -> None:
    qrels = tmp_path / "qrels.txt"
    qrels.write_bytes(BOM + b"q1 0 p5 2\r\nq2 0 p5 0\r\n")
    found = open_collection(folder, tmp_path / "cache").judged_by("test", qrels, read_qrels)
    for each in (found, pickle.loads(pickle.dumps(found))):
        judged = each.judgements("test")
        assert (judged.query_rows.tolist(), judged.passage_rows.tolist(), judged.grades.tolist()) == (
            [1], [5], [2],
        )  # fmt: skip
        assert each.counts["queries/test"] == each.counts["dropped/test/queries"] == 1
        assert judged.take([0]).source == judged.source != ""


def test_packed_files_are_those_that_they_hold(folder: Path, tmp_path: Path) -> None:
    plain = open_collection(folder, tmp_path / "cache")
    wanted = list(plain.passages()), list(plain.queries()), plain.judgements("test").query_rows.tolist()
    for name in (CORPUS, QUERIES, TEST):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes(), mtime=0))
        (folder / name).unlink()
        for cache in ("cache", f"cache-{len(name)}"):
            found = open_collection(folder, tmp_path / cache)
            assert (found.fingerprint, found.name) == (plain.fingerprint, plain.name)
            assert (
                list(found.passages()), list(found.queries()), found.judgements("test").query_rows.tolist()
            ) == wanted  # fmt: skip
    (folder / f"{CORPUS}.gz").write_bytes((folder / f"{CORPUS}.gz").read_bytes()[:-9])
    with pytest.raises(
        DataError, match=r"corpus\.jsonl\.gz: cannot be unpacked \(.*\); download or pack it again"
    ):
        open_collection(folder, tmp_path / "cache")

"""One line of a BEIR file at a time: parsing, and errors that name file, line, reason and fix."""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from retrieval.errors import DataError

CORPUS = "corpus.jsonl"
QUERIES = "queries.jsonl"
QRELS_HEADER = ("query-id", "corpus-id", "score")
_QRELS_LAYOUT = "it must be query-id, corpus-id, score with a tab between"
_SHOWN = 200
# At most nine digits, so that a score fits 32 bits.
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}\Z")


def refuse(path: Path, line: int, reason: str) -> NoReturn:
    """Raise the :class:`DataError` of one malformed line (counted from 1)."""
    raise DataError(f"{path}:{line}: {reason}")


def parse_passage(raw: bytes, path: Path, line: int) -> tuple[str, str]:
    """Id and text of a line of ``corpus.jsonl``: title and text joined by one space; may be empty.

    Raises:
        DataError: not JSON, no ``_id`` or ``text``, or a value of the wrong type.
    """
    record = _parse_object(raw, path, line)
    identifier, text = _identifier(record, path, line), _string(record, "text", path, line).strip()
    title = record.get("title") or ""
    if not isinstance(title, str):
        refuse(path, line, f"title of {identifier!r} is {_kind(title)}; it must be a string or absent")
    title = title.strip()
    if not title:
        return identifier, text
    return identifier, f"{title} {text}" if text else title


def parse_query(raw: bytes, path: Path, line: int) -> tuple[str, str]:
    """Id and text of a line of ``queries.jsonl``.

    Raises:
        DataError: as :func:`parse_passage`, and when the text is empty.
    """
    record = _parse_object(raw, path, line)
    identifier, text = _identifier(record, path, line), _string(record, "text", path, line).strip()
    if not text:
        refuse(path, line, f"query {identifier!r} is empty; give it text or remove it and its judgements")
    return identifier, text


def read_qrels(path: Path) -> Iterator[tuple[int, str, str, int]]:
    """Line number, query id, passage id and grade of each line of a ``qrels/*.tsv`` file.

    Raises:
        DataError: no header, not three tab-separated columns, or a score that is no integer.
    """
    with path.open("rb") as file:
        for line, raw in enumerate(file, start=1):
            columns = decode(raw, path, line).rstrip("\r\n").split("\t")
            if line == 1:
                if tuple(columns) != QRELS_HEADER:
                    shown = repr(columns)
                    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
                    refuse(path, line, f"the header is {shown}; {_QRELS_LAYOUT}{_trec_hint(columns)}")
                continue
            if columns == [""]:
                refuse(path, line, "blank line; remove it")
            if len(columns) != 3:
                refuse(path, line, f"{len(columns)} column(s); {_QRELS_LAYOUT}")
            yield line, columns[0], columns[1], grade(columns[2], path, line)


def _trec_hint(columns: list[str]) -> str:
    if len(columns) != 4:
        return ""
    return " (a TREC qrels file is for retrieval.evaluate --qrels)"


def grade(text: str, path: Path, line: int) -> int:
    """The grade of a judgement.

    Raises:
        DataError: it is no integer.
    """
    if not _INTEGER.match(text):
        refuse(path, line, f"score {text!r} is not an integer; relevant passages have 1 or more")
    return int(text)


def hash_id(identifier: str) -> int:
    """64-bit hash of an id, the compact form in which ids are compared."""
    return int.from_bytes(hashlib.blake2b(identifier.encode(), digest_size=8).digest(), "little")


def hash_text(text: str) -> int:
    """64-bit hash of a text that ignores case and white space, for finding the same text elsewhere."""
    normalised = " ".join(text.lower().split())
    return int.from_bytes(hashlib.blake2b(normalised.encode(), digest_size=8).digest(), "little")


def _parse_object(raw: bytes, path: Path, line: int) -> dict[str, Any]:
    text = decode(raw, path, line).rstrip()
    if not text:
        refuse(path, line, "blank line; remove it")
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        refuse(path, line, f"not valid JSON ({error.msg} at column {error.pos + 1}); write one object a line")
    except (ValueError, RecursionError) as error:
        refuse(path, line, f"not valid JSON ({error}); write one object a line")
    if not isinstance(record, dict):
        refuse(path, line, f"the line holds {_kind(record)}; it must be a JSON object with _id and text")
    # An escaped lone surrogate is valid JSON but no text: it cannot be encoded or tokenized.
    if b"\\u" in raw and re.search(r"[\ud800-\udfff]", json.dumps(record, ensure_ascii=False)):
        refuse(path, line, "the text holds half of a surrogate pair (\\ud800-\\udfff); replace it")
    return record


def _identifier(record: dict[str, Any], path: Path, line: int) -> str:
    identifier = _string(record, "_id", path, line)
    if not identifier.strip():
        refuse(path, line, "_id is empty; give the record an id")
    if "\t" in identifier or "\n" in identifier or "\r" in identifier:
        refuse(path, line, f"_id {identifier!r} holds a tab or line break, so qrels cannot name it")
    return identifier


def _string(record: dict[str, Any], key: str, path: Path, line: int) -> str:
    value = record.get(key)
    if isinstance(value, str):
        return value
    if key not in record:
        refuse(path, line, f"no key {key!r}; the keys are {', '.join(sorted(record)) or 'none'}")
    refuse(path, line, f"{key} is {_kind(value)}; it must be a string")


def decode(raw: bytes, path: Path, line: int) -> str:
    """The text of a line, without the mark that some editors put before the first.

    Raises:
        DataError: it is not UTF-8.
    """
    try:
        return raw.decode("utf-8-sig" if line == 1 else "utf-8")
    except UnicodeDecodeError as error:
        refuse(path, line, f"not valid UTF-8 at byte {error.start + 1} of the line; save the file as UTF-8")


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")

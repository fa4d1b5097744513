"""The index of a BEIR folder: fingerprint, ids, line offsets, text hashes and judgements as arrays.

Building it reads every line once, which is also the validation. Memory grows by about 90 bytes per
record while building (no text is kept); a reader maps the arrays and pays for what it touches.
"""

import json
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from retrieval.data import gzipped, records
from retrieval.data.cache import digest
from retrieval.data.judgements import relevant_pairs
from retrieval.errors import DataError
from retrieval.run.files import read_json, write_text

VERSION = 2
CORPUS, QUERIES = records.CORPUS, records.QUERIES
ABOUT = "collection.json"
"""Optional: ``drop_identical`` (BEIR's rule for ArguAna and Quora) and ``dropped`` (reason -> count)."""
COLUMNS = ("query_rows", "passage_rows", "grades")
_LAYOUT = "a collection in BEIR format holds corpus.jsonl, queries.jsonl and qrels/*.tsv"
# File systems stamp files with a coarse clock: a file changed again within the same tick would
# keep its time and size, so the hash of a file younger than this many seconds is not remembered.
_SETTLED_SECONDS = 2.0
_SPACES = b" \t\n\v\f\r"

Parse = Callable[[bytes, Path, int], tuple[str, str]]


class Table:
    """Ids, line offsets and text hashes of the records of one file, memory-mapped."""

    def __init__(self, folder: Path, table: str) -> None:
        self._ids = np.memmap(folder / f"{table}.ids.bin", dtype=np.uint8, mode="r")
        self._id_ends = np.load(folder / f"{table}.id_ends.npy", mmap_mode="r")
        self._line_ends = np.load(folder / f"{table}.line_ends.npy", mmap_mode="r")
        self._id_order = np.load(folder / f"{table}.id_order.npy", mmap_mode="r")
        self._id_hashes = np.load(folder / f"{table}.id_hashes.npy", mmap_mode="r")
        self.hashes: NDArray[np.uint64] = np.load(folder / f"{table}.hashes.npy", mmap_mode="r")

    def __len__(self) -> int:
        return len(self.hashes)

    def ids(self, rows: ArrayLike) -> list[str]:
        """Ids at ``rows`` (int64[k])."""
        wanted = np.asarray(rows, dtype=np.int64)
        starts, ends = self._id_ends[wanted].tolist(), self._id_ends[wanted + 1].tolist()
        return [self._ids[start:end].tobytes().decode() for start, end in zip(starts, ends, strict=True)]

    def rows(self, ids: Sequence[str]) -> NDArray[np.int64]:
        """Row of each id, −1 where unknown (int64[k])."""
        wanted = np.array([records.hash_id(identifier) for identifier in ids], dtype=np.uint64)
        starts = np.searchsorted(self._id_hashes, wanted, side="left")
        ends = np.searchsorted(self._id_hashes, wanted, side="right")
        rows = np.full(len(ids), -1, dtype=np.int64)
        found = ends > starts
        rows[found] = self._id_order[starts[found]]
        # Among millions of ids two may share a 64-bit hash; only then are the ids themselves compared.
        for at in np.flatnonzero(ends - starts > 1).tolist():
            candidates = self._id_order[starts[at] : ends[at]]
            rows[at] = dict(zip(self.ids(candidates), candidates.tolist(), strict=True)).get(ids[at], -1)
        return rows

    def duplicate(self) -> tuple[int, int]:
        """The two rows of the duplicate id that a reader of the file meets first; (−1, −1) if none."""
        same = np.flatnonzero(self._id_hashes[1:] == self._id_hashes[:-1])
        pairs = [(int(self._id_order[at]), int(self._id_order[at + 1])) for at in same.tolist()]
        real = [(first, second) for first, second in pairs if len(set(self.ids([first, second]))) == 1]
        return min(real, key=lambda pair: pair[1], default=(-1, -1))

    def id_with_space(self) -> str | None:
        """The first id that holds ASCII white space; ``None`` without one."""
        places = np.flatnonzero(np.isin(self._ids, np.frombuffer(_SPACES, np.uint8)))
        if not len(places):
            return None
        return self.ids([np.searchsorted(self._id_ends, places[0], side="right") - 1])[0]

    def lines(self, path: Path, rows: ArrayLike) -> Iterator[tuple[bytes, int]]:
        """Bytes and number (from 1) of the lines at ``rows`` of ``path``."""
        wanted = np.asarray(rows, dtype=np.int64)
        starts, ends = self._line_ends[wanted].tolist(), self._line_ends[wanted + 1].tolist()
        with path.open("rb") as file:
            for row, start, end in zip(wanted.tolist(), starts, ends, strict=True):
                file.seek(start)
                yield file.read(end - start), row + 1


def split_files(folder: Path) -> dict[str, Path]:
    """Split name -> qrels file, in the order train, dev, test, others by name.

    Raises:
        DataError: the folder is not in BEIR format.
    """
    for name in (CORPUS, QUERIES):
        if not gzipped.find(folder, name).is_file():
            raise DataError(f"{folder / name}: no such file; {_LAYOUT}{_deeper(folder, name)}")
    # Of a split that is there twice the plain file counts.
    listed = [path for ending in ("*.tsv.gz", "*.tsv") for path in sorted((folder / "qrels").glob(ending))]
    files = {gzipped.plain_name(path).removesuffix(".tsv"): path for path in listed}
    if not files:
        raise DataError(f"{folder / 'qrels'}: no *.tsv file; {_LAYOUT}")
    for path in files.values():
        if not path.is_file():
            raise DataError(f"{path}: not a file; {_LAYOUT}")
    known = [split for split in ("train", "dev", "test") if split in files]
    return {split: files[split] for split in [*known, *sorted(set(files) - set(known))]}


def _deeper(folder: Path, name: str) -> str:
    """Where a file that is missing may be: a folder deeper, as archives are unpacked."""
    inner = next((path.parent for path in sorted(folder.glob(f"*/{name}"))), None)
    return f"; is it {inner}?" if inner else ""


def files_of(folder: Path) -> dict[str, Path]:
    """Every file of a BEIR folder by its plain name within it.

    Raises:
        DataError: the folder is not in BEIR format.
    """
    files = {name: gzipped.find(folder, name) for name in (CORPUS, QUERIES)}
    files |= {f"qrels/{split}.tsv": path for split, path in split_files(folder).items()}
    return files | {ABOUT: folder / ABOUT} if (folder / ABOUT).is_file() else files


def fingerprint(folder: Path, cache: Path | None) -> str:
    """SHA-256 of the content of a BEIR folder, independent of where the folder is.

    With ``cache``, the hash of each file is remembered under its path, size and time of change.

    Raises:
        DataError: the folder is not in BEIR format.
    """
    name = f"{digest(str(folder.resolve()))[:32]}.json"
    memory = cache / "collections" / "hashes" / name if cache else None
    known: dict[str, Any] = (read_json(memory) if memory else None) or {}
    hashes: dict[str, str] = {}
    remembered: dict[str, list[Any]] = {}
    for name, path in files_of(folder).items():
        stat = path.stat()
        key = [stat.st_size, stat.st_mtime_ns]
        entry = known.get(name, [])
        hashes[name] = entry[2] if entry[:2] == key else gzipped.content_hash(path)
        if time.time() - stat.st_mtime > _SETTLED_SECONDS:
            remembered[name] = [*key, hashes[name]]
    if memory and remembered != known:
        write_text(memory, json.dumps(remembered))
    return digest(hashes)


def build(folder: Path, target: Path, fingerprint: str) -> None:
    """Validate ``folder`` and write its index into ``target``.

    Raises:
        DataError: the first malformed line, by file and line.
    """
    empty_passages = _build_table(folder / CORPUS, records.parse_passage, target, "passages")
    _build_table(folder / QUERIES, records.parse_query, target, "queries")
    passages, queries = Table(target, "passages"), Table(target, "queries")
    counts = {
        "passages": len(passages),
        "passages/empty": len(empty_passages),
        "passages/repeated_text": len(passages) - len(np.unique(passages.hashes)),
        "queries": len(queries),
        "queries/repeated_text": len(queries) - len(np.unique(queries.hashes)),
    }
    splits = split_files(folder)
    for split, path in splits.items():
        left_out = empty_passages if split == "train" else np.empty(0, dtype=np.int64)
        counts |= _build_judgements(path, split, queries, passages, left_out, target)
    about = read_about(folder)
    counts |= {f"dropped/{reason}": count for reason, count in about.get("dropped", {}).items()}
    meta = {
        "fingerprint": fingerprint,
        "counts": counts,
        "splits": list(splits),
        "drop_identical": about.get("drop_identical", False),
    }
    (target / "meta.json").write_text(json.dumps(meta, indent=1), encoding="utf-8")


def read_about(folder: Path) -> dict[str, Any]:
    """What ``collection.json`` says; nothing where there is none.

    Raises:
        DataError: the file is malformed.
    """
    path = folder / ABOUT
    if not path.is_file():
        return {}
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    if not isinstance(about, dict) or not isinstance(about.get("drop_identical", False), bool):
        raise DataError(f'{path}: it must be an object such as {{"drop_identical": true}}')
    return about


def _build_table(path: Path, parse: Parse, target: Path, table: str) -> NDArray[np.int64]:
    """Write ids, offsets and hashes of the records of ``path``; return the rows without text."""
    id_ends, line_ends, id_hashes, text_hashes = array("q", [0]), array("q", [0]), array("Q"), array("Q")
    empty = array("q")
    size = path.stat().st_size
    with (
        path.open("rb") as source,
        (target / f"{table}.ids.bin").open("wb") as ids,
        tqdm(total=size, unit="B", unit_scale=True, delay=2, leave=False, desc=f"checking {path}") as bar,
    ):
        for line, raw in enumerate(source, start=1):
            identifier, text = parse(raw, path, line)
            encoded = identifier.encode()
            ids.write(encoded)
            id_ends.append(id_ends[-1] + len(encoded))
            line_ends.append(line_ends[-1] + len(raw))
            id_hashes.append(records.hash_id(identifier))
            text_hashes.append(records.hash_text(text))
            if not text:
                empty.append(line - 1)
            bar.update(len(raw))
    if not id_hashes:
        raise DataError(f"{path}: the file is empty; it needs at least one record")
    hashes = np.frombuffer(id_hashes, dtype=np.uint64)
    order = np.argsort(hashes, kind="stable")
    np.save(target / f"{table}.id_ends.npy", np.frombuffer(id_ends, dtype=np.int64))
    np.save(target / f"{table}.line_ends.npy", np.frombuffer(line_ends, dtype=np.int64))
    np.save(target / f"{table}.hashes.npy", np.frombuffer(text_hashes, dtype=np.uint64))
    np.save(target / f"{table}.id_order.npy", order)
    np.save(target / f"{table}.id_hashes.npy", hashes[order])
    written = Table(target, table)
    first, second = written.duplicate()
    if second > 0:
        [identifier] = written.ids([second])
        reason = f"_id {identifier!r} is already on line {first + 1}; give each record its own id"
        records.refuse(path, second + 1, reason)
    return np.array(empty, dtype=np.int64)


def _build_judgements(
    path: Path, split: str, queries: Table, passages: Table, left_out: NDArray[np.int64], target: Path
) -> dict[str, int]:
    """Write the relevant pairs of one qrels file; return its counts."""
    columns, counts = relevant_pairs(path, records.read_qrels, queries.rows, passages.rows, left_out)
    parts: tuple[NDArray[Any], ...] = columns
    for column, values in zip(COLUMNS, parts, strict=True):
        np.save(target / f"qrels-{split}.{column}.npy", values)
    return {name.format(split=split): count for name, count in counts.items()}
